//! The page as a person sees it: drawn by a browser without a window.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::api;
use crate::process;
use crate::stop::Stop;

/// Fetches the page and what it shows, and looks for each of `words` in the latter.
pub fn shows(address: &str, words: &[&str]) -> Result<()> {
    let page = api::get(address, "/")?;
    ensure!(page.contains("<html") && page.contains("</html>"), "the page is no HTML document:\n{page:.300}");
    let data = api::get(address, "/api/v1/now")?;
    for word in words {
        ensure!(data.contains(word) || page.contains(word), "the page does not show `{word}`");
    }
    Ok(())
}

/// Draws the page into a PNG file, once its data has come.
pub fn screenshot(url: &str, file: &Path, stop: &Stop) -> Result<()> {
    let profile = tempfile::tempdir()?;
    let file = std::path::absolute(file)?;
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut command = Command::new("chromium");
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--force-device-scale-factor=1.5",
    ]);
    command.args(["--window-size=1200,1240", "--virtual-time-budget=6000"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("--screenshot={}", file.display())).arg(url);
    let done = process::run(&mut command, &[], Duration::from_secs(60), stop)?;
    ensure!(
        done.status.success() && file.exists(),
        "chromium drew nothing ({}):\n{}",
        done.status,
        done.stderr
    );
    Ok(())
}
