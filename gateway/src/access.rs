//! Who may do what at the page.

mod role;

pub(crate) use role::Role;
