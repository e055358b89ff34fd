//! Developer tasks: what a machine needs, a lab that real traffic crosses, and the proof that all of it works.
//!
//! A library so that tests and further tasks can use the lab. Nothing of it ships with the gateway.

pub mod actions;
pub mod bench;
pub mod corpus;
pub mod demo;
pub mod faults;
pub mod fleet;
pub mod fuzz;
pub mod image;
pub mod image_test;
pub mod lab;
pub mod ndpi;
pub mod process;
pub mod setup;
pub mod steps;
pub mod stop;
pub mod structure;
pub mod ui;
pub mod workspace;
