//! The update: what a slot holds, as one signed file that rauc takes, and the keys that sign it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kernel::Boot;
use super::root::Root;
use super::{Recipe, fresh, run_tool};
use crate::stop::Stop;
use crate::ui;

/// What the machines call themselves; a bundle for another kind is refused. Also in `root/etc/rauc/system.conf`.
pub const COMPATIBLE: &str = "glassgate-x86-64";

/// Who signs updates.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The private key.
    pub key: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
    /// The certificates that machines trust.
    pub keyring: PathBuf,
}

impl Keys {
    /// Keys of one's own.
    pub fn from(dir: &Path) -> Result<Self> {
        let keys = Self::at(dir);
        for path in [&keys.key, &keys.certificate, &keys.keyring] {
            ensure!(path.is_file(), "no {}: see \"Your own key\" in docs/flash.md", path.display());
        }
        Ok(keys)
    }

    /// A key for tests: made once in a folder below `target`, which no repository keeps.
    pub fn for_tests(dir: &Path, stop: &Stop) -> Result<Self> {
        let keys = Self::at(dir);
        if keys.keyring.is_file() {
            return Ok(keys);
        }
        let doing = ui::doing("key for tests");
        fresh(dir)?;
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-sha256",
        ]);
        // A machine whose clock was never set takes updates too, so it has been valid for long.
        openssl.args(["-days", "7300", "-subj", "/O=Glassgate/CN=key for tests"]);
        openssl.args(["-addext", "keyUsage=critical,digitalSignature", "-keyout"]).arg(&keys.key);
        run_tool(openssl.arg("-out").arg(&keys.certificate), stop)?;
        std::fs::copy(&keys.certificate, &keys.keyring)?;
        doing.done(dir.display());
        Ok(keys)
    }

    fn at(dir: &Path) -> Self {
        Self {
            key: dir.join("update.key.pem"),
            certificate: dir.join("update.cert.pem"),
            keyring: dir.join("keyring.pem"),
        }
    }
}

/// Makes the signed update.
pub fn write(boot: &Boot, root: &Root, recipe: &Recipe, stop: &Stop) -> Result<PathBuf> {
    let content = recipe.out.join("bundle");
    fresh(&content)?;
    for (from, name) in [(&boot.image, "boot.img"), (&root.file, "root.img")] {
        let to = content.join(name);
        std::fs::hard_link(from, &to)
            .or_else(|_| std::fs::copy(from, &to).map(drop))
            .with_context(|| to.display().to_string())?;
    }
    std::fs::write(content.join("manifest.raucm"), manifest(&recipe.version))?;
    let bundle = recipe.out.join("glassgate.raucb");
    drop(std::fs::remove_file(&bundle));
    let mut rauc = Command::new("rauc");
    rauc.arg("bundle").arg(format!("--cert={}", recipe.keys.certificate.display()));
    rauc.arg(format!("--key={}", recipe.keys.key.display()));
    rauc.arg(format!("--keyring={}", recipe.keys.keyring.display()));
    run_tool(rauc.arg(&content).arg(&bundle), stop)?;
    Ok(bundle)
}

/// The same content under another signature.
pub fn sign_again(bundle: &Path, recipe: &Recipe, keys: &Keys, dir: &Path, stop: &Stop) -> Result<PathBuf> {
    let to = dir.join("glassgate.raucb");
    drop(std::fs::remove_file(&to));
    let mut rauc = Command::new("rauc");
    rauc.arg("resign").arg(format!("--cert={}", keys.certificate.display()));
    rauc.arg(format!("--key={}", keys.key.display()));
    rauc.arg(format!("--keyring={}", recipe.keys.keyring.display()));
    rauc.arg(format!("--signing-keyring={}", keys.keyring.display()));
    run_tool(rauc.arg(bundle).arg(&to), stop)?;
    Ok(to)
}

fn manifest(version: &str) -> String {
    format!(
        "[update]\ncompatible={COMPATIBLE}\nversion={version}\n\n[bundle]\nformat=verity\n\n\
         [image.rootfs]\nfilename=root.img\n\n[image.boot]\nfilename=boot.img\n"
    )
}

#[cfg(test)]
mod tests {
    use super::COMPATIBLE;

    #[test]
    fn machines_and_bundles_call_themselves_the_same() {
        let config = include_str!("../../../image/root/etc/rauc/system.conf");
        assert!(config.contains(&format!("compatible={COMPATIBLE}\n")));
    }
}
