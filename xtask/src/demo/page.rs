//! The page as a person sees it: drawn by a browser without a window.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Draws the page into a PNG file, once its data has come. A browser has no session at the gateway, so it asks somebody between.
pub fn screenshot(address: &str, file: &Path, stop: &Stop) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    let (address, asked) = (address.to_owned(), Arc::new(AtomicBool::new(true)));
    let on = asked.clone();
    let at = listener.local_addr()?;
    let between = std::thread::spawn(move || {
        for stream in listener.incoming().flatten().take_while(|_| on.load(Ordering::Relaxed)) {
            // A browser that hangs up has what it wanted.
            _ = pass_on(stream, &address);
        }
    });
    let drawn = draw(&url, file, stop);
    asked.store(false, Ordering::Relaxed);
    _ = TcpStream::connect(at);
    _ = between.join();
    drawn
}

/// Answers one request with what the gateway says to the lab.
fn pass_on(mut stream: TcpStream, address: &str) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = BufReader::new(stream.try_clone()?).lines();
    let first = head.next().transpose()?.unwrap_or_default();
    // The rest of the head is read, so that nothing is lost when the connection ends.
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or("/");
    let (status, kind, body) = match api::fetch(address, path) {
        Ok((kind, body)) => ("200 OK", kind, body),
        Err(why) => ("502 Bad Gateway", "text/plain".to_owned(), format!("{why:#}").into_bytes()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)?;
    Ok(())
}

fn draw(url: &str, file: &Path, stop: &Stop) -> Result<()> {
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
