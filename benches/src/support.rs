//! The builders of hellos and Initials that the tests of the data plane use.

#[path = "../../dataplane/tests/support/hello.rs"]
pub(crate) mod hello;
#[path = "../../dataplane/tests/support/quic.rs"]
pub(crate) mod quic;
#[path = "../../dataplane/tests/support/random.rs"]
pub(crate) mod random;
