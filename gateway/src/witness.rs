//! `glassgate witness`: remembers how far logs were, over HTTP (C2SP `tlog-witness`).
//!
//! To be run where those who could change a log can't reach: another machine, another person's. It holds its own key and one small
//! file for each log, and does nothing else.

use crate::audit::text_or_file;
use crate::cli::audit::Witness as Args;
use crate::exit::{Ended, Exit};
use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use glassgate_audit::disk::Folder;
use glassgate_audit::note::{Kind, Signer, Verifier};
use glassgate_audit::witness::{MAX_REQUEST, OwnKeyError, Witness, lock, own_key};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs until it is killed: what it said is remembered before it is said.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let folder = Folder::open(&args.dir).with_context(|| format!("{} can't be used", args.dir.display()))?;
    let _lock = lock(&args.dir).with_context(|| format!("another witness uses {}", args.dir.display()))?;
    let key = key(&folder, &args.name)?;
    let logs: Result<Vec<Verifier>> = args.logs.iter().map(|text| log_key(text)).collect();
    let witness =
        Witness::open(Arc::new(folder), key, logs?).map_err(|e| Ended::new(Exit::Invalid, e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen).await;
        let listener = listener.with_context(|| format!("{} can't be listened at", args.listen))?;
        let mut said =
            format!("listening at http://{}\nits key: {}\n", listener.local_addr()?, witness.key());
        for (log, size) in witness.sizes() {
            said += &format!("remembers {size} entries of {log}\n");
        }
        crate::print(&said)?;
        axum::serve(listener, router(witness)).await?;
        Ok(Exit::Done)
    })
}

fn key(folder: &Folder, name: &str) -> Result<Signer> {
    own_key(folder, name).map_err(|e| match e {
        OwnKeyError::Name(why) => Ended::new(Exit::Usage, format!("--name: {why}")).into(),
        other => other.into(),
    })
}

fn log_key(text: &str) -> Result<Verifier> {
    let fault = |why: String| Ended::new(Exit::Usage, format!("--log {text}: {why}"));
    let key = Verifier::parse(&text_or_file(text)).map_err(|e| fault(e.to_string()))?;
    if key.kind() == Kind::Ed25519 {
        Ok(key)
    } else {
        Err(fault("this is the key of a witness".to_owned()).into())
    }
}

fn router(witness: Witness) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(Arc::new(Mutex::new(witness)))
}

async fn add_checkpoint(State(witness): State<Arc<Mutex<Witness>>>, body: String) -> impl IntoResponse {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // One at a time: what it remembers is checked and replaced as one.
    let answer = witness.lock().unwrap_or_else(PoisonError::into_inner).add_checkpoint(&body, now);
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, answer.content_type)], answer.body)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    /// A witness in a thread of its own, for as long as the test runs.
    pub(crate) struct Running {
        pub(crate) settings: config::Witness,
        _stop: tokio::sync::oneshot::Sender<()>,
    }

    impl Running {
        pub(crate) fn start(folder: &Path, log: &str) -> Self {
            let folder = Folder::open(folder).unwrap();
            let key = key(&folder, "w.example").unwrap();
            let public = key.verifier().to_string();
            let witness = Witness::open(Arc::new(folder), key, vec![Verifier::parse(log).unwrap()]).unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    let end = async { _ = stopped.await };
                    axum::serve(listener, router(witness)).with_graceful_shutdown(end).await.unwrap();
                });
            });
            let settings =
                config::Witness { address, url: format!("http://{address}/add-checkpoint"), key: public };
            Self { settings, _stop: stop }
        }
    }
}
