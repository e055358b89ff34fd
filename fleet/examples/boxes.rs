//! Many boxes in one process: the real agent, each with a connection of its own, over an hour of records that is in memory. Says as JSON what was
//! sent. For `cargo xtask fleet --only thousand`.

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::note::{Kind, Signer};
use glassgate_fleet::agent::{Agent, Source, State};
use glassgate_fleet::link::{Link, jetstream};
use glassgate_fleet::words::Site;

/// What a box of an office of some hundred people tells in an hour: four groups with ten services each, uploads of two of them, what could not be
/// seen, an alert that comes and goes; and a checkpoint every ten minutes.
const ROLLUPS: u64 = 40;
const UPLOADS: u64 = 8;
const CHECKPOINTS: u64 = 6;

struct Memory {
    site: u64,
    key: Signer,
    checkpoint: u64,
}

impl Source for Memory {
    fn key(&self) -> Option<String> {
        Some(self.key.verifier().to_string())
    }

    fn entries(&mut self, seq: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>> {
        let all = ROLLUPS + UPLOADS + 3;
        Ok((seq..all).take(limit).map(|seq| (seq, entry(self.site, seq).into_bytes())).collect())
    }

    fn checkpoint(&mut self) -> Option<String> {
        let size = 51 + self.checkpoint;
        let origin = self.key.verifier().name().to_owned();
        Some(Checkpoint { origin, size, root: [7; 32] }.sign(&self.key))
    }
}

fn entry(site: u64, seq: u64) -> String {
    let head = format!(
        r#"{{"boot_id":"000000000000000000000000000000ab","seq":{seq},"mono_ns":{},"wall":"2027-01-11T10:00:00.123456Z","wall_quality":"synchronized","#,
        site * 1_000_000 + seq
    );
    let window = r#""start":"2027-01-11T09:00:00Z","end":"2027-01-11T10:00:00Z","start_mono_ns":1,"end_mono_ns":2,"complete":true,"#;
    let group = ["sales", "engineering", "finance", "warehouse"][(seq % 4) as usize];
    let service = format!("service-{}", seq / 4);
    let of = format!(
        r#""span":"hour","group":"{group}","category":"recruitment","service":"{service}","subjects":"20-49","k":10,"#
    );
    let end = match seq {
        0..ROLLUPS => format!(
            r#""event_type":"group_rollup","level":"aggregate",{window}{of}"flows":{},"flow":{{"pkts_toserver":9000,"pkts_toclient":50000,"bytes_toserver":2100000,"bytes_toclient":61000000}},"visits":23,"active_s":4410,"blocked_percent":0,"evidence_percent":{{"sni":88,"quic_sni":12}},"reasons_percent":{{}},"app_proto_percent":{{"tls":88,"quic":12}}}}"#,
            1000 + site
        ),
        48 => format!(
            r#""event_type":"blindness",{window}"flows":0,"not_looked_at":812,"evidence":{{}},"reasons":{{}},"too_weak":3,"told":{{"evidence_percent":{{"sni":88,"quic_sni":10}},"reasons_percent":{{"ech":1,"no_name":1}}}}}}"#
        ),
        49 => {
            r#""event_type":"alert","alert":"list_old","state":"raised","severity":"warning","about":"ut1"}"#
                .to_owned()
        }
        50 => r#""event_type":"alert","alert":"list_old","state":"cleared","severity":"warning"}"#.to_owned(),
        _ => format!(
            r#""event_type":"uploads","level":"aggregate",{window}"measure":"uploads",{of}"uploads":14,"bytes":9100000}}"#
        ),
    };
    head + &end
}

async fn run(server: String, n: u64) -> Result<State> {
    let link = Link { servers: vec![server], ..Link::default() };
    let context = jetstream(link.connect(&format!("box {n}")).await?);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    let key = Signer::from_seed(&format!("office.example/gateway-{n}"), Kind::Ed25519, seed)?;
    let mut agent = Agent::new(Site::new(&format!("s{n}"))?, Memory { site: n, key, checkpoint: 0 }, None);
    agent.turn(&context).await?;
    for checkpoint in 1..=CHECKPOINTS {
        agent.source.checkpoint = checkpoint;
        agent.send_checkpoint(&context).await?;
    }
    Ok(agent.state)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let server = words.next().context("the address of a server")?;
    let boxes: u64 = words.next().context("how many boxes")?.parse()?;
    let all = stream::iter(0..boxes).map(|n| run(server.clone(), n)).buffer_unordered(1000);
    let states: Vec<State> = all.try_collect().await?;
    let (sent, bytes) = states.iter().fold((0, 0), |sum, state| (sum.0 + state.sent, sum.1 + state.bytes));
    let checkpoints = boxes * CHECKPOINTS;
    println!(
        "{}",
        serde_json::json!({
            "messages": sent + checkpoints,
            "checkpoints": checkpoints,
            "bytes": bytes,
            "rows": boxes * (ROLLUPS + UPLOADS),
        })
    );
    Ok(())
}
