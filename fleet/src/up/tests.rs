use super::*;
use glassgate_audit::note::Signer;

fn site() -> Site {
    Site::new("plant-7").unwrap()
}

const ROLLUP: &str = r#"{"boot_id":"b","seq":7,"mono_ns":1,"wall":"2027-01-11T10:00:00Z","wall_quality":"synchronized","event_type":"group_rollup","level":"aggregate","start":"2027-01-11T09:00:00Z","end":"2027-01-11T10:00:00Z","start_mono_ns":1,"end_mono_ns":2,"complete":true,"span":"hour","group":"sales","category":"recruitment","service":"boss-zhipin","subjects":"10-19","k":10,"flows":1512,"flow":{"pkts_toserver":1,"pkts_toclient":2,"bytes_toserver":2100000,"bytes_toclient":61000000},"visits":23,"active_s":4410,"blocked_percent":0,"evidence_percent":{"sni":88},"reasons_percent":{},"app_proto_percent":{"tls":88}}"#;

fn message(entry: &str) -> Message {
    let (wall, said) = said(entry.as_bytes()).unwrap();
    Message { v: VERSION, site: site(), log: LogId::of("key"), seq: 7, prev: Some(3), wall, said }
}

#[test]
fn a_record_goes_up_and_is_read_as_what_it_was() {
    let sent = message(ROLLUP);
    assert_eq!(
        String::from_utf8(sent.bytes()).unwrap(),
        r#"{"v":1,"site":"plant-7","log":"2c70e12b7a0646f92279f427c7b38e73","seq":7,"prev":3,"wall":"2027-01-11T10:00:00Z","said":{"event_type":"group_rollup","start":"2027-01-11T09:00:00Z","end":"2027-01-11T10:00:00Z","span":"hour","group":"sales","category":"recruitment","service":"boss-zhipin","subjects":"10-19","k":10,"flows":1512,"flow":{"bytes_toserver":2100000,"bytes_toclient":61000000},"visits":23,"active_s":4410,"blocked_percent":0}}"#
    );
    assert_eq!(
        Came::read("gg.plant-7.up.aggregates", &sent.bytes()),
        Ok(Came::Record(Box::new(sent.clone())))
    );
}

#[test]
fn what_is_not_on_the_list_stays_and_so_does_each_member_without_a_field() {
    let canary = "CANARY-zhang-wei-aa:bb:cc:dd:ee:ff";
    for kind in [
        "session",
        "sealed_key",
        "case_opened",
        "case_told",
        "login",
        "login_failed",
        "account",
        "accounts",
        "bypass",
        "receipts",
        "rollup",
        "list_accepted",
        "logout",
        "access_denied",
        "something_of_next_year",
    ] {
        let entry = format!(r#"{{"event_type":"{kind}","pseudonym":"{canary}"}}"#);
        assert_eq!(said(entry.as_bytes()), Err(Kept::Kind), "{kind}");
    }
    // A member that nobody has thought of, in each kind that goes up, at each depth.
    let bare = [
        ROLLUP.to_owned(),
        r#"{"event_type":"uploads","start":"2027-01-11T09:00:00Z","end":"2027-01-11T10:00:00Z","measure":"uploads","span":"rest_of_day","subjects":"10-19","k":10,"uploads":14,"bytes":9100000}"#.to_owned(),
        r#"{"event_type":"blindness","start":"2027-01-11T09:00:00Z","end":"2027-01-11T10:00:00Z","flows":3,"not_looked_at":9,"evidence":{"sni":3},"reasons":{},"too_weak":0,"told":{"evidence_percent":{"sni":90}}}"#.to_owned(),
        r#"{"event_type":"alert","alert":"port_down","state":"raised","severity":"critical","about":"x"}"#.to_owned(),
        r#"{"event_type":"started","version":"0.1.0"}"#.to_owned(),
        r#"{"event_type":"stopped"}"#.to_owned(),
        format!(r#"{{"event_type":"policy","epoch":1,"table":"{}","rules":3}}"#, "a".repeat(64)),
        r#"{"event_type":"charter","cause":"installed","standing":"in_force","charter":"x","level":"aggregate","purposes":[]}"#.to_owned(),
        r#"{"event_type":"uninspected","number":1,"cause":"start","forwarder":"nobody","start_mono_ns":1}"#.to_owned(),
        r#"{"event_type":"gap","cause":"unclean_end","count":"unknown","error":"x"}"#.to_owned(),
        r#"{"event_type":"log_full"}"#.to_owned(),
        r#"{"event_type":"clock_step","step_ms":-5}"#.to_owned(),
        r#"{"event_type":"removed","from_seq":0,"to_seq":255}"#.to_owned(),
    ];
    assert_eq!(bare.len(), KINDS.len());
    for entry in bare {
        let more =
            entry.replacen('{', &format!(r#"{{"uid":1000,"who":"{canary}","deep":{{"mac":"{canary}"}},"#), 1);
        let more = more
            .replace(r#""about":"x""#, &format!(r#""about":"{canary}""#))
            .replace(r#""error":"x""#, &format!(r#""error":"{canary}""#));
        let sent = message(&more);
        let text = String::from_utf8(sent.bytes()).unwrap();
        assert!(!text.contains("CANARY") && !text.contains("uid"), "{text}");
        let subject = sent.said.topic().subject(&site());
        assert_eq!(Came::read(&subject, text.as_bytes()), Ok(Came::Record(Box::new(sent))), "{text}");
    }
}

#[test]
fn exact_numbers_of_what_could_not_be_seen_stay() {
    let sent = message(
        r#"{"event_type":"blindness","start":"2027-01-11T09:00:00Z","end":"2027-01-11T10:00:00Z","flows":31337,"not_looked_at":31338,"evidence":{"sni":31339},"reasons":{"ech":31340},"too_weak":31341}"#,
    );
    assert!(!String::from_utf8(sent.bytes()).unwrap().contains("3133"));
}

#[test]
fn each_refusal_of_a_hostile_message_has_its_reason() {
    let good = String::from_utf8(message(ROLLUP).bytes()).unwrap();
    let read = |subject: &str, text: &str| Came::read(subject, text.as_bytes()).map(drop);
    let subject = "gg.plant-7.up.aggregates";
    assert_eq!(read(subject, &good), Ok(()));
    for bad in [
        "gg.plant-7.up",
        "gg.plant-7.down.aggregates",
        "gg.plant-7.up.aggregates.x",
        "x.plant-7.up.health",
        "gg.*.up.health",
        "",
    ] {
        assert_eq!(read(bad, &good), Err(Refused::Subject), "{bad}");
    }
    assert_eq!(read("gg.plant-8.up.aggregates", &good), Err(Refused::Site));
    assert_eq!(read("gg.plant-7.up.health", &good), Err(Refused::Topic));
    assert_eq!(read(subject, &good.replace("\"v\":1", "\"v\":2")), Err(Refused::Version));
    for (from, to) in [
        ("\"seq\":7", "\"seq\":7,\"who\":\"x\""),
        ("\"seq\":7", "\"seq\": 7"),
        ("\"seq\":7", "\"seq\":-7"),
        ("\"seq\":7", "\"seq\":18446744073709551615"),
        ("1512", "18014398509481984"),
        ("\"10-19\"", "\"19-10\""),
        ("sales", "sa\\u0000les"),
        ("T09:00:00Z", "T09:00:00+00:00"),
        ("group_rollup", "session"),
    ] {
        assert_ne!(good.replacen(from, to, 1), good, "{from}");
        assert_eq!(read(subject, &good.replacen(from, to, 1)), Err(Refused::Form), "{to}");
    }
    assert_eq!(read(subject, &" ".repeat(MAX_MESSAGE + 1)), Err(Refused::Length));
}

fn log_key() -> Signer {
    Signer::from_seed("example.com/log", Kind::Ed25519, [3; 32]).unwrap()
}

fn checkpoint(size: u64) -> String {
    Checkpoint { origin: "example.com/log".to_owned(), size, root: [9; 32] }.sign(&log_key())
}

#[test]
fn a_checkpoint_goes_up_with_its_signatures_and_nothing_else() {
    let key = log_key().verifier().to_string();
    let witness = Signer::from_seed("w.example", Kind::Cosignature, [4; 32]).unwrap();
    let note = checkpoint(12);
    let cosigned = format!("{note}{}", witness.sign(Note::parse(&note).unwrap().text, 99));
    let message = CheckpointMessage::new(&site(), &key, &cosigned).unwrap();
    assert_eq!(message.note, cosigned);
    assert_eq!(message.checkpoint().unwrap().size, 12);
    let subject = "gg.plant-7.up.checkpoints";
    assert_eq!(Came::read(subject, &message.bytes()), Ok(Came::Checkpoint(message.clone())));
    // Another line of the log's own, and a signature that is none of these: one does not go up at all, the other stays.
    let text = format!("{}CANARY\n", Note::parse(&note).unwrap().text);
    let extended = format!("{text}\n{}", log_key().sign(&text, 0));
    assert_eq!(CheckpointMessage::new(&site(), &key, &extended), Err(Refused::Form));
    let odd = format!("{cosigned}\u{2014} CANARY AAAAAAAAAAAA\n");
    assert_eq!(CheckpointMessage::new(&site(), &key, &odd), Ok(message.clone()));
    let smuggled = CheckpointMessage { note: odd, ..message.clone() };
    assert_eq!(Came::read(subject, &smuggled.bytes()), Err(Refused::Form));
}

#[test]
fn a_checkpoint_that_the_key_of_its_log_did_not_sign_is_refused() {
    let key = log_key().verifier().to_string();
    let good = CheckpointMessage::new(&site(), &key, &checkpoint(12)).unwrap();
    let read =
        |message: &CheckpointMessage| Came::read("gg.plant-7.up.checkpoints", &message.bytes()).map(drop);
    assert_eq!(read(&good), Ok(()));
    let longer = CheckpointMessage { note: good.note.replace("\n12\n", "\n13\n"), ..good.clone() };
    assert_eq!(read(&longer), Err(Refused::Signature));
    let other = Signer::from_seed("example.com/log", Kind::Ed25519, [5; 32]).unwrap();
    let stolen = CheckpointMessage { key: other.verifier().to_string(), ..good.clone() };
    assert_eq!(read(&stolen), Err(Refused::Signature));
    // Signed well, by a key that is not this log's.
    let own = CheckpointMessage::new(&site(), &other.verifier().to_string(), &{
        Checkpoint { origin: "example.com/log".to_owned(), size: 12, root: [8; 32] }.sign(&other)
    });
    let named = CheckpointMessage { log: good.log.clone(), ..own.unwrap() };
    assert_eq!(read(&named), Err(Refused::Form));
    assert_eq!(named.checkpoint(), Err(Refused::Signature));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), cut in 0usize..600) {
        _ = Came::read("gg.a.up.health", &bytes);
        _ = said(&bytes);
        let cut = &ROLLUP.as_bytes()[..cut.min(ROLLUP.len())];
        _ = said(cut);
    }
}
