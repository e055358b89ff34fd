//! nDPI's library, the peer in speed: the little program around it that corpus and benchmark run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// Compiles the program that surrounds nDPI's library (`benches/reference/ndpi.c`) into `work`.
pub fn build(work: &Path) -> Result<PathBuf> {
    let flags = process::capture(Command::new("pkg-config").args(["--cflags", "--libs", "libndpi"]))
        .context("nDPI's library is missing: cargo xtask setup --peer")?;
    let (source, program) = (workspace::root().join("benches/reference/ndpi.c"), work.join("ndpi-reference"));
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-Wall", "-Werror", "-o"]).arg(&program).arg(source).args(flags.split_whitespace());
    process::capture(&mut compiler)?;
    Ok(program)
}
