//! The packages: resolved by apt into a lock file that is kept, downloaded by apt, and held against the hashes of that file.
//!
//! apt works in folders of its own below `target/image/apt`, with the sources and keys of the machine; nothing is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{folder, run_tool, sources};
use crate::stop::Stop;
use crate::ui;

/// `image/packages.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    root: Vec<String>,
    kernel: String,
    initrd: Vec<String>,
    leave_out: BTreeSet<String>,
}

/// Where a package goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Into the root.
    Root,
    /// Beside it: kernel and modules.
    Kernel,
    /// Into the initrd alone.
    Initrd,
}

/// A package as the lock file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Where it goes.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64` or `all`.
    pub arch: String,
    /// Of the file.
    pub sha256: String,
}

/// A package and its file.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What it is.
    pub package: Locked,
    /// The file, whose hash is right.
    pub file: PathBuf,
}

const HEAD: &str = "# The packages of the firmware, made by `cargo xtask image --lock`: part, name, version, architecture, SHA-256.\n";

fn lock_file() -> PathBuf {
    sources().join("packages.lock")
}

/// Reads the lock file.
pub fn locked() -> Result<Vec<Locked>> {
    let path = lock_file();
    let lines = super::lines_of(&path).context("run `cargo xtask image --lock`")?;
    lines.iter().map(|line| parse(line).with_context(|| format!("{}: `{line}`", path.display()))).collect()
}

fn parse(line: &str) -> Result<Locked> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [part, name, version, arch, sha256] = fields[..] else { bail!("not five fields") };
    let part = match part {
        "root" => Part::Root,
        "kernel" => Part::Kernel,
        "initrd" => Part::Initrd,
        _ => bail!("no such part"),
    };
    ensure!(sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()), "no SHA-256");
    // Names and versions become arguments of apt and names of files.
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:~".contains(&b)) && !text.starts_with('-')
    };
    ensure!(plain(name) && plain(version) && plain(arch), "a name that Debian has not");
    let [name, version, arch, sha256] = [name, version, arch, sha256].map(str::to_owned);
    Ok(Locked { part, name, version, arch, sha256 })
}

/// Resolves the names anew and writes the lock file.
pub fn lock(stop: &Stop) -> Result<()> {
    let apt = Apt::new()?;
    let doing = ui::doing("apt: lists of packages");
    run_tool(&mut apt.get(&["update"]), stop)?;
    doing.done("");
    let doing = ui::doing("apt: versions");
    let wanted: Wanted = toml::from_str(&std::fs::read_to_string(sources().join("packages.toml"))?)?;
    let mut found = Vec::new();
    let mut taken = BTreeSet::new();
    let kernel = std::slice::from_ref(&wanted.kernel);
    for (part, names) in
        [(Part::Root, &wanted.root[..]), (Part::Kernel, kernel), (Part::Initrd, &wanted.initrd[..])]
    {
        for (name, version, arch) in apt.resolve(names, stop)? {
            // What a kernel or an initrd needs beyond itself is an installer, or in the root already.
            let fits = match part {
                Part::Root => true,
                Part::Kernel => name.starts_with("linux-image-") && name != wanted.kernel,
                Part::Initrd => names.contains(&name),
            };
            if fits && !wanted.leave_out.contains(&name) && taken.insert(name.clone()) {
                found.push((part, name, version, arch));
            }
        }
    }
    let hashes = apt.sha256(
        &found.iter().map(|(_, name, version, _)| format!("{name}={version}")).collect::<Vec<_>>(),
        stop,
    )?;
    let mut text = HEAD.to_owned();
    for (part, name, version, arch) in &found {
        let part = match part {
            Part::Root => "root",
            Part::Kernel => "kernel",
            Part::Initrd => "initrd",
        };
        let hash = hashes
            .get(&(name.clone(), version.clone()))
            .with_context(|| format!("apt knows no SHA-256 of {name} {version}"))?;
        _ = writeln!(text, "{part} {name} {version} {arch} {hash}");
    }
    std::fs::write(lock_file(), text)?;
    doing.done(format_args!("{} packages in {}", found.len(), lock_file().display()));
    Ok(())
}

/// Downloads what is missing, and gives all packages with files whose hashes are right.
pub fn fetch(stop: &Stop) -> Result<Vec<Fetched>> {
    let locked = locked()?;
    let cache = folder().join("cache");
    std::fs::create_dir_all(&cache)?;
    let file = |package: &Locked| {
        // apt writes the colon of an epoch like this.
        let version = package.version.replace(':', "%3a");
        cache.join(format!("{}_{version}_{}.deb", package.name, package.arch))
    };
    let is_right = |package: &Locked| sha256_of(&file(package)).is_ok_and(|hash| hash == package.sha256);
    let missing: Vec<&Locked> = locked.iter().filter(|package| !is_right(package)).collect();
    if !missing.is_empty() {
        let doing = ui::doing(format_args!("download {} packages", missing.len()));
        let apt = Apt::new()?;
        if !apt.has_lists() {
            run_tool(&mut apt.get(&["update"]), stop)?;
        }
        let names = missing.iter().map(|p| format!("{}:{}={}", p.name, native(&p.arch), p.version));
        let mut download = apt.get(&["download"]);
        download.args(names).current_dir(&cache);
        if let Err(why) = run_tool(&mut download, stop) {
            doing.failed("");
            return Err(why.context(
                "apt can't have these versions: Debian has newer ones by now (`cargo xtask image --lock` takes them), or its lists \
                 are old (remove target/image/apt)",
            ));
        }
        doing.done("");
    }
    for package in &missing {
        let hash = sha256_of(&file(package))?;
        ensure!(
            hash == package.sha256,
            "{} {} has SHA-256 {hash}, and packages.lock says {}: what came is not what was locked",
            package.name,
            package.version,
            package.sha256
        );
    }
    Ok(locked.iter().map(|package| Fetched { package: package.clone(), file: file(package) }).collect())
}

fn native(arch: &str) -> &str {
    if arch == "all" { "amd64" } else { arch }
}

/// SHA-256 of a file, as hexadecimal digits.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => context.update(&buffer[..n]),
        }
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// apt in folders of its own.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new() -> Result<Self> {
        let dir = std::path::absolute(folder().join("apt"))?;
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(dir.join(sub))?;
        }
        // As if nothing were installed, so that whatever is needed is named.
        std::fs::write(dir.join("state/status"), "")?;
        Ok(Self { dir })
    }

    fn has_lists(&self) -> bool {
        let lists = std::fs::read_dir(self.dir.join("state/lists"));
        lists.is_ok_and(|lists| {
            lists.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        })
    }

    fn options(&self, command: &mut Command) {
        let dir = self.dir.display();
        for option in [
            format!("Dir::State={dir}/state"),
            format!("Dir::State::status={dir}/state/status"),
            format!("Dir::Cache={dir}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Install-Recommends=false".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
    }

    fn get(&self, args: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-qq");
        self.options(&mut command);
        command.args(args);
        command
    }

    /// Names with all that they need: name, version, architecture.
    fn resolve(&self, names: &[String], stop: &Stop) -> Result<Vec<(String, String, String)>> {
        let mut command = self.get(&["install", "--simulate"]);
        command.args(names);
        let said = run_tool(&mut command, stop)?;
        let mut found: Vec<_> = said.lines().filter_map(simulated).collect();
        found.sort();
        Ok(found)
    }

    /// The hash of each of `NAME=VERSION`, in one question: apt reads all its lists for each.
    fn sha256(&self, packages: &[String], stop: &Stop) -> Result<BTreeMap<(String, String), String>> {
        let mut command = Command::new("apt-cache");
        self.options(&mut command);
        command.arg("show").args(packages);
        Ok(stanzas(&run_tool(&mut command, stop)?))
    }
}

/// A line of `apt-get --simulate`: `Inst libc6 (2.36-9 Debian:12.11/stable [amd64])`.
fn simulated(line: &str) -> Option<(String, String, String)> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    let version = rest.split_whitespace().next()?;
    // Behind the parenthesis stands what is still broken, in brackets as well.
    let arch = rest.split(')').next()?.rsplit_once('[')?.1.trim_end_matches(']');
    Some((name.to_owned(), version.to_owned(), arch.to_owned()))
}

/// Name, version and SHA-256 of each paragraph of `apt-cache show`.
fn stanzas(said: &str) -> BTreeMap<(String, String), String> {
    let paragraph = |text: &str| {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        Some(((value("Package: ")?, value("Version: ")?), value("SHA256: ")?))
    };
    said.split("\n\n").filter_map(paragraph).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_apt() {
        let line = "Inst libgcc-s1 (12.2.0-14 Debian:12.11/oldstable, Security:x [amd64]) [libc6:amd64 ]";
        assert_eq!(simulated("Conf libc6 (2.36-9 Debian:12 [amd64])"), None);
        let plain = simulated("Inst libc6 (2.36-9 Debian:12.11/stable [amd64])").unwrap();
        assert_eq!(plain, ("libc6".to_owned(), "2.36-9".to_owned(), "amd64".to_owned()));
        let more = simulated(line).unwrap();
        assert_eq!((more.1.as_str(), more.2.as_str()), ("12.2.0-14", "amd64"));
    }

    #[test]
    fn paragraphs_of_apt() {
        let said = "Package: a\nVersion: 1:2\nSHA256: 00ff\n\nPackage: b\nVersion: 3\nDescription: x\n more\nSHA256: aa\n\n";
        let found = stanzas(said);
        assert_eq!(found[&("a".to_owned(), "1:2".to_owned())], "00ff");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn lines_of_the_lock_file() {
        let hash = "ab".repeat(32);
        let good = format!("root libacl1 1:2.3.1-3+b1 amd64 {hash}");
        assert_eq!(parse(&good).unwrap().version, "1:2.3.1-3+b1");
        for bad in [
            "root libacl1 2.3 amd64".to_owned(),
            format!("boot libacl1 2.3 amd64 {hash}"),
            format!("root ../x 2.3 amd64 {hash}"),
            format!("root -oX=y 2.3 amd64 {hash}"),
            format!("root libacl1 2.3 amd64 {}", "x".repeat(64)),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }
}
