//! `nats-server` for the lab of the fleet: that of the machine if it has one, else Debian's package, unpacked and not installed. Installing it would
//! start a service, on somebody's machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, ui, workspace};

/// Within the package, and within the root of a machine that has it.
const PROGRAM: &str = "usr/sbin/nats-server";

/// Where it is, if it is.
pub fn there() -> Option<PathBuf> {
    let places = [Path::new("/").join(PROGRAM), workspace::target().join("nats-server").join(PROGRAM)];
    places.into_iter().find(|place| place.exists())
}

/// Where it is; it is fetched if it has to be.
pub fn server() -> Result<PathBuf> {
    if let Some(place) = there() {
        return Ok(place);
    }
    let folder = workspace::target().join("nats-server");
    let unpacked = folder.join(PROGRAM);
    let doing = ui::doing("download nats-server");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut download = Command::new("apt-get");
    download.args(["-q", "-o", "APT::Sandbox::User=root", "download", "nats-server"]).current_dir(&folder);
    if process::capture(&mut download).is_err() {
        // Lists may be old or absent on a fresh machine.
        process::capture(Command::new("apt-get").args(["-q", "update"]))?;
        process::capture(&mut download)?;
    }
    let package = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt-get downloaded no package")?;
    process::capture(Command::new("dpkg-deb").arg("-x").arg(package).arg(&folder))?;
    doing.done(unpacked.display());
    Ok(unpacked)
}
