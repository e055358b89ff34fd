//! Programs that the lab runs from a folder of its own: a package that would start a service, and one of Python.
//!
//! Nothing of it is installed on the machine; whoever deletes `target/tools` is rid of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::stop::Stop;
use crate::{process, ui, workspace};

/// How long a download may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// The version that the interface was held against.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// The folder.
fn folder() -> Result<PathBuf> {
    let folder = workspace::target().join("tools");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// `prometheus` and `promtool` of Debian, unpacked: installed, the package would start a server on this machine.
pub fn prometheus(stop: &Stop) -> Result<[PathBuf; 2]> {
    let folder = folder()?;
    let programs = ["prometheus", "promtool"].map(|name| folder.join("prometheus/usr/bin").join(name));
    if programs.iter().all(|program| program.exists()) {
        return Ok(programs);
    }
    let doing = ui::doing("download prometheus, to a folder");
    let mut download = Command::new("apt-get");
    download.args(["download", "prometheus"]).current_dir(&folder);
    run(&mut download, stop)?;
    let package = std::fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_it = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("prometheus_") && name.ends_with(".deb")
    };
    let package = package.filter(is_it).last().context("apt-get left no package")?;
    let mut unpack = Command::new("dpkg");
    run(unpack.arg("-x").arg(&package).arg(folder.join("prometheus")), stop)?;
    std::fs::remove_file(package)?;
    doing.done("");
    Ok(programs)
}

/// `schemathesis`, in an environment of its own.
pub fn schemathesis(stop: &Stop) -> Result<PathBuf> {
    let environment = folder()?.join("schemathesis");
    let program = environment.join("bin/schemathesis");
    if program.exists() {
        return Ok(program);
    }
    let doing = ui::doing("install schemathesis, in a folder");
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment), stop)?;
    run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", SCHEMATHESIS]), stop)?;
    ensure!(program.exists(), "pip left no {}", shown(&program));
    doing.done("");
    Ok(program)
}

fn run(command: &mut Command, stop: &Stop) -> Result<()> {
    let words = process::show(command);
    let done = process::run(command, &[], PATIENCE, stop)?;
    ensure!(done.status.success(), "`{words}` failed: {}", done.stderr.trim());
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
