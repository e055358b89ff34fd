//! The store, held against logs in memory and accidents on disk.

#[path = "store/common.rs"]
mod common;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/follow.rs"]
mod follow;
