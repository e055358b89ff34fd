//! A serial line of the machine, as a socket: everything that came is kept, and can be waited for.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::stop::Stop;

/// How often a wait looks whether the user asks to end.
const TURN: Duration = Duration::from_millis(100);

/// What came over a line so far.
#[derive(Default)]
struct Heard {
    bytes: Mutex<Vec<u8>>,
    news: Condvar,
}

/// A line.
pub struct Line {
    stream: UnixStream,
    heard: Arc<Heard>,
}

impl Line {
    /// Connects to a socket that QEMU makes, and appends what comes to a log if there is one.
    pub fn connect(socket: &Path, log: Option<&Path>, stop: &Stop) -> Result<Self> {
        let end = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(why) if Instant::now() > end => {
                    return Err(why).with_context(|| format!("no line at {}", socket.display()));
                }
                // QEMU makes its sockets one after the other and tells nobody.
                Err(_) => stop.pause(TURN)?,
            }
        };
        let heard = Arc::new(Heard::default());
        let (mut source, to) = (stream.try_clone()?, heard.clone());
        let log =
            log.map(|path| std::fs::OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        std::thread::Builder::new().name("serial line".to_owned()).spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = source.read(&mut buffer) {
                if let Some(mut log) = log.as_ref() {
                    drop(log.write_all(&buffer[..n]));
                }
                to.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..n]);
                to.news.notify_all();
            }
        })?;
        Ok(Self { stream, heard })
    }

    /// How much has come.
    pub fn len(&self) -> usize {
        self.heard.bytes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has come since `from`.
    pub fn since(&self, from: usize) -> String {
        let bytes = self.heard.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
    }

    /// Waits until one of the texts has come since `from`; gives everything since then.
    pub fn expect(&self, texts: &[&str], from: usize, limit: Duration, stop: &Stop) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            stop.check()?;
            let text = self.since(from);
            if texts.iter().any(|wanted| text.contains(wanted)) {
                return Ok(text);
            }
            if Instant::now() >= end {
                let last: Vec<&str> = text.lines().rev().take(8).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                bail!(
                    "the machine did not say \"{}\" within {limit:?}; last:\n  {}",
                    texts.join("\" or \""),
                    last.join("\n  ")
                );
            }
            let bytes = self.heard.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.heard.news.wait_timeout(bytes, TURN));
        }
    }

    /// Sends bytes.
    pub fn send(&self, text: &str) -> Result<()> {
        (&self.stream).write_all(text.as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_came_is_kept_and_what_does_not_come_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("line");
        let listener = UnixListener::bind(&socket).unwrap();
        let stop = Stop::install().unwrap();
        let line = Line::connect(&socket, Some(&dir.path().join("log")), &stop).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"one\ntwo\n").unwrap();
        let long = Duration::from_secs(60);
        assert!(line.expect(&["two"], 0, long, &stop).unwrap().starts_with("one"));
        let at = line.len();
        let why = line.expect(&["one"], at, Duration::ZERO, &stop).unwrap_err().to_string();
        assert!(why.contains("did not say"), "what came before counts no more: {why}");
    }
}
