//! What the data plane makes of policies that are not what they should be.

use super::*;
use crate::ipc::Received;
use std::io::Write as _;
use std::os::fd::AsFd as _;

fn shared() -> Shared {
    let policy = PolicySlot::new(no_verdicts().unwrap());
    Shared { stop: AtomicBool::new(false), policy, table: Mutex::new(None) }
}

fn table() -> Vec<u8> {
    glassgate_policy::builtin::table().unwrap().to_bytes()
}

fn matrix(epoch: u64) -> Vec<u8> {
    VerdictMatrix::uniform(epoch, Verdict::FAIL_OPEN).to_bytes()
}

fn sealed(bytes: &[u8]) -> OwnedFd {
    handover::seal("test", bytes).unwrap()
}

fn unsealed(bytes: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).unwrap();
    file.into()
}

/// Offers a policy; says the epoch in force and what the guard was told.
fn offer(shared: &Shared, fds: Vec<OwnedFd>) -> (u64, Option<String>) {
    let (ours, theirs) = Channel::pair().unwrap();
    let guard = Channel::from_socket(theirs);
    take_policy(&ours, shared, &PolicyId { epoch: 7, content: String::new(), since: 7, bypass: false }, fds)
        .unwrap();
    drop(ours);
    let told: Option<Received<FromDataplane>> = guard.receive().unwrap();
    let told = told.map(|told| match told.message {
        FromDataplane::Refused { epoch: 7, why } => why,
        other => panic!("{other:?}"),
    });
    (shared.policy.newer(&mut 0).unwrap().policy.matrix.epoch(), told)
}

#[test]
fn a_good_policy_is_taken() {
    let shared = shared();
    let table = sealed(&table());
    assert_eq!(offer(&shared, vec![table.try_clone().unwrap(), sealed(&matrix(1))]), (1, None));
    let first = shared.policy.newer(&mut 0).unwrap();
    assert_eq!(first.hash, VerdictMatrix::uniform(1, Verdict::FAIL_OPEN).hash());
    // The same table again: known by its file, not read again.
    assert_eq!(offer(&shared, vec![table, sealed(&matrix(2))]), (2, None));
    let second = shared.policy.newer(&mut 0).unwrap();
    assert!(Arc::ptr_eq(&first.policy.table, &second.policy.table));
}

#[test]
fn whatever_is_wrong_with_a_policy_the_one_before_stays() {
    let shared = shared();
    offer(&shared, vec![sealed(&table()), sealed(&matrix(1))]);
    let flipped = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 1].to_vec();
    let cases = [
        ("not sealed", vec![sealed(&table()), unsealed(&matrix(2))]),
        ("not sealed", vec![unsealed(&table()), sealed(&matrix(2))]),
        ("not sealed", vec![sealed(&table()), tempfile::tempfile().unwrap().into()]),
        ("the verdict matrix", vec![sealed(&table()), sealed(&flipped(matrix(2)))]),
        ("the verdict matrix", vec![sealed(&table()), sealed(&cut(matrix(2)))]),
        ("the verdict matrix", vec![sealed(&table()), sealed(&[])]),
        ("the signature table", vec![sealed(&flipped(table())), sealed(&matrix(2))]),
        ("the signature table", vec![sealed(&cut(table())), sealed(&matrix(2))]),
        ("the signature table", vec![sealed(&matrix(2)), sealed(&table())]),
        ("1 descriptors", vec![sealed(&matrix(2))]),
        ("0 descriptors", vec![]),
    ];
    for (why, fds) in cases {
        let (epoch, told) = offer(&shared, fds);
        let told = told.expect("the guard is told");
        assert!(told.contains(why), "{why}: {told}");
        assert_eq!(epoch, 1, "{why}");
    }
    assert!(!handover::is_sealed(unsealed(b"x").as_fd()));
}
