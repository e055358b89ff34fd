use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Cursor;

/// A number in one of the two byte orders.
#[derive(Clone, Copy, Debug)]
enum Order {
    Little,
    Big,
}
use Order::{Big, Little};

impl Order {
    fn u16(self, n: u16) -> [u8; 2] {
        match self {
            Little => n.to_le_bytes(),
            Big => n.to_be_bytes(),
        }
    }

    fn u32(self, n: u32) -> [u8; 4] {
        match self {
            Little => n.to_le_bytes(),
            Big => n.to_be_bytes(),
        }
    }

    fn u32s(self, numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|n| self.u32(*n)).collect()
    }

    fn pcap(self, magic: u32, minor: u16, link: u32) -> Vec<u8> {
        let version = [self.u16(2), self.u16(minor)].concat();
        [&self.u32(magic)[..], &version, &self.u32s(&[0, 0, 65535, link])].concat()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let len = (12 + body.len() + padding.len()) as u32;
        [&self.u32s(&[kind, len])[..], body, &padding, &self.u32(len)].concat()
    }

    fn section(self) -> Vec<u8> {
        let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
        [&self.u16(code)[..], &self.u16(value.len() as u16), value, &padding].concat()
    }

    fn interface(self, link: u16, snap_len: u32, options: &[u8]) -> Vec<u8> {
        self.block(1, &[&self.u16(link)[..], &[0, 0], &self.u32(snap_len), options].concat())
    }

    fn packet(self, interface: u32, stamp: u64, bytes: &[u8], wire_len: u32) -> Vec<u8> {
        let words = [interface, (stamp >> 32) as u32, stamp as u32, bytes.len() as u32, wire_len];
        let padding = vec![0; bytes.len().next_multiple_of(4) - bytes.len()];
        let comment = self.option(1, b"seen");
        self.block(6, &[&self.u32s(&words)[..], bytes, &padding, &comment, &[0; 4]].concat())
    }
}

/// All frames, what was wrong, and whether reading failed.
fn read(file: &[u8]) -> (Vec<CapturedFrame>, Option<Damage>) {
    let mut reader = CaptureReader::new(Cursor::new(file.to_vec())).unwrap();
    let frames = reader.by_ref().collect::<io::Result<Vec<_>>>().unwrap();
    (frames, reader.damage())
}

fn facts(frame: &CapturedFrame) -> (u64, u64, Link, &[u8], usize) {
    (frame.number(), frame.time(), frame.link(), frame.bytes(), frame.wire_len())
}

#[test]
fn pcap_in_every_dress() {
    for order in [Little, Big] {
        for (magic, fraction, time, extra) in [
            (0xa1b2_c3d4, 250_000, 7_250_000_000, 0),
            (0xa1b2_3c4d, 250_000, 7_000_250_000, 0),
            (0xa1b2_cd34, 250_000, 7_250_000_000, 8),
        ] {
            let record = [&order.u32s(&[7, fraction, 3, 60])[..], &vec![9; extra], b"abc"].concat();
            let second = [&order.u32s(&[8, 0, 0, 0])[..], &vec![9; extra]].concat();
            let (frames, damage) = read(&[order.pcap(magic, 4, 0xf400_0000 | 101), record, second].concat());
            assert_eq!(facts(&frames[0]), (1, time, Link::RawIp, &b"abc"[..], 60), "{order:?} {magic:x}");
            assert_eq!(facts(&frames[1]), (2, 8_000_000_000, Link::RawIp, &b""[..], 0));
            assert_eq!(damage, None);
        }
        // Ancient versions: the two lengths in the other order, always or now and then.
        for (minor, lengths) in [(2, [60, 3]), (3, [60, 3]), (3, [3, 60])] {
            let record = [&order.u32s(&[7, 0])[..], &order.u32s(&lengths), b"abc"].concat();
            let (frames, _) = read(&[order.pcap(0xa1b2_c3d4, minor, 1), record].concat());
            assert_eq!((frames[0].bytes(), frames[0].wire_len()), (&b"abc"[..], 60));
        }
    }
}

#[test]
fn pcapng_in_every_dress() {
    for order in [Little, Big] {
        let offset = match order {
            Little => 5u64.to_le_bytes(),
            Big => 5u64.to_be_bytes(),
        };
        let millis = [order.option(2, b"eth0"), order.option(9, &[3]), order.option(14, &offset)].concat();
        let file = [
            order.section(),
            order.interface(1, 0, &[]),
            order.block(0x0bad, b"not known"),
            order.interface(113, 4, &millis),
            order.interface(101, 0, &order.option(9, &[0x80 | 10])),
            order.packet(0, 1_500_000, b"first", 60),
            order.packet(1, 2_500, b"second", 6),
            order.packet(2, 3 * 1024 + 512, b"third", 5),
            // A simple packet belongs to the first interface, and has the time of the one before.
            order.block(3, &[&order.u32(4)[..], b"four"].concat()),
            // The obsolete packet block: a 16-bit interface and a drop count.
            order.block(2, &[&order.u16(2)[..], &[0, 9], &order.u32s(&[0, 1024, 4, 4]), b"five"].concat()),
            // Another section has other interfaces, and may have the other byte order.
            Big.section(),
            Big.interface(1, 0, &[]),
            Big.packet(0, 9, b"six", 3),
        ]
        .concat();
        let (frames, damage) = read(&file);
        let want: [(u64, u64, Link, &[u8], usize); 6] = [
            (1, 1_500_000_000, Link::Ethernet, b"first", 60),
            (2, 7_500_000_000, Link::Sll, b"second", 6),
            (3, 3_500_000_000, Link::RawIp, b"third", 5),
            (4, 3_500_000_000, Link::Ethernet, b"four", 4),
            (5, 1_000_000_000, Link::RawIp, b"five", 4),
            (6, 9_000, Link::Ethernet, b"six", 3),
        ];
        assert_eq!(frames.iter().map(facts).collect::<Vec<_>>(), want);
        assert_eq!((frames[4].interface(), damage), (2, None));
    }
}

#[test]
fn snoop() {
    let record = [&Big.u32s(&[60, 3, 28, 0, 7, 5])[..], b"abc\0"].concat();
    let file = [b"snoop\0\0\0", &Big.u32s(&[2, 4])[..], &record, &record].concat();
    let (frames, damage) = read(&file);
    assert_eq!(facts(&frames[1]), (2, 7_000_005_000, Link::Ethernet, &b"abc"[..], 60));
    assert_eq!(damage, None);
}

#[test]
fn what_is_no_capture_is_refused() {
    for file in [&b""[..], b"ab", b"PK\x03\x04 and so on, for long enough", &Little.pcap(0xa1b2_c3d5, 4, 1)] {
        let error = CaptureReader::new(Cursor::new(file.to_vec())).err().unwrap();
        assert!(matches!(&error, OpenError::NotACapture(start) if file.starts_with(start)), "{error}");
    }
    assert!(matches!(CaptureReader::open("/does/not/exist"), Err(OpenError::Io(_))));
}

/// Whatever is wrong with a file, the frames before it are there, and the place is named.
#[test]
fn damage_is_told_with_its_place() {
    let record = |len: u32| [&Little.u32s(&[7, 0, len, len])[..], b"abcd"].concat();
    let pcap = [Little.pcap(0xa1b2_c3d4, 4, 1), record(4)].concat();
    let ng = [Little.section(), Little.interface(1, 0, &[]), Little.packet(0, 1, b"abcd", 4)].concat();
    let (p, n) = (pcap.len() as u64, ng.len() as u64);
    for (file, damage) in [
        ([&pcap[..], &record(4)[..19]].concat(), Damage::BreaksOff(p)),
        ([&pcap[..], &record(4)[..7]].concat(), Damage::BreaksOff(p)),
        ([&pcap[..], &record(u32::MAX)].concat(), Damage::Nonsense(p)),
        ([&ng[..], &Little.packet(0, 1, b"abcd", 4)[..30]].concat(), Damage::BreaksOff(n)),
        ([&ng[..], &Little.u32s(&[6, 11, 0, 0])].concat(), Damage::Nonsense(n)),
        ([&ng[..], &Little.u32s(&[6, u32::MAX, 0, 0])].concat(), Damage::Nonsense(n)),
        ([&ng[..], &Little.u32s(&[5, u32::MAX, 0, 0])].concat(), Damage::BreaksOff(n)),
        ([&ng[..], &Little.block(6, &[0; 16])].concat(), Damage::Nonsense(n)),
        ([&ng[..], &Little.packet(1, 1, b"abcd", 4)].concat(), Damage::PassedOver(n)),
        ([&ng[..], &Little.block(6, &Little.u32s(&[0, 0, 0, 5, 5, 0]))].concat(), Damage::PassedOver(n)),
    ] {
        let (frames, got) = read(&file);
        assert_eq!(frames.iter().map(CapturedFrame::bytes).collect::<Vec<_>>(), [b"abcd"], "{damage}");
        assert_eq!(got, Some(damage));
    }
}

/// Gives a byte at a time, and is interrupted between.
struct Slow(Cursor<Vec<u8>>, bool);

impl Read for Slow {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = buf.len().min(1);
        self.0.read(&mut buf[..len])
    }
}

#[test]
fn pipes_give_what_they_have() {
    let file = [Little.section(), Little.interface(1, 0, &[]), Little.packet(0, 1, b"abcd", 4)].concat();
    let mut reader = CaptureReader::new(Slow(Cursor::new(file), false)).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().bytes(), b"abcd");
    assert!(reader.next().is_none());
}

#[test]
fn a_failing_source_ends_the_capture_with_its_error() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                n => Ok(n),
            }
        }
    }
    let file = [&Little.pcap(0xa1b2_c3d4, 4, 1)[..], &Little.u32s(&[7, 0, 1, 1]), b"a"].concat();
    let mut port = CapturePort::new().with_input(CaptureReader::new(Failing(Cursor::new(file))).unwrap());
    let mut burst = Burst::default();
    assert_eq!(port.rx_burst(&mut burst), 1);
    assert!(port.is_exhausted());
    assert_eq!(port.read_error().map(io::Error::kind), Some(io::ErrorKind::ConnectionReset));
}

/// A file of many chunks: whoever lets frames go reads it in the memory of one; whoever keeps them, keeps them whole.
#[test]
fn memory_is_that_of_the_frames_held() {
    let mut file = Little.pcap(0xa1b2_c3d4, 4, 1);
    let content = |i: u32| i.to_be_bytes().repeat(100 + i as usize % 300);
    for i in 0..5_000 {
        let bytes = content(i);
        file.extend(Little.u32s(&[i, 0, bytes.len() as u32, bytes.len() as u32]));
        file.extend(bytes);
    }
    assert!(file.len() > 4 << 20);
    let mut places = BTreeSet::new();
    for (i, frame) in CaptureReader::new(Cursor::new(file.clone())).unwrap().enumerate() {
        let frame = frame.unwrap();
        assert_eq!(frame.bytes(), content(i as u32));
        places.insert(frame.chunk.as_ptr() as usize);
    }
    assert_eq!(places.len(), 1, "one chunk, used again");
    let (frames, _) = read(&file);
    assert!(frames.iter().zip(0..).all(|(frame, i)| frame.bytes() == content(i)));
}

#[test]
fn a_burst_spans_a_millisecond_at_most() {
    let mut file = Little.pcap(0xa1b2_c3d4, 4, 1);
    for micros in [0, 600, 1000, 1001, 1400, 900_000, 400] {
        file.extend(Little.u32s(&[5, micros, 1, 1]));
        file.push(1);
    }
    for _ in 0..BURST_LEN + 1 {
        file.extend(Little.u32s(&[9, 0, 1, 1]));
        file.push(2);
    }
    let mut port = CapturePort::new().with_input(CaptureReader::new(Cursor::new(file)).unwrap());
    let mut bursts = Vec::new();
    let mut burst = Burst::default();
    while !port.is_exhausted() {
        let got = port.rx_burst(&mut burst);
        bursts.push((got, port.time() / 1000 % 1_000_000));
        assert!(burst.iter().all(|f| f.time().abs_diff(port.time()) <= BURST_SPAN));
        burst.drain().for_each(drop);
    }
    // The last look finds nothing, and the end.
    let want = [(3, 0), (2, 1001), (1, 900_000), (1, 400), (BURST_LEN, 0), (1, 0)];
    assert_eq!(bursts[..want.len()], want);
    assert_eq!(port.counters().rx_frames, 7 + BURST_LEN as u64 + 1);
}

const BURST_LEN: usize = crate::port::BURST;

/// Output that can be read back after the port has written it.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_sent_is_written() {
    let file = [
        &Little.section()[..],
        &Little.interface(101, 0, &Little.option(9, &[9])),
        &Little.packet(0, 123_456_789_012, b"one", 60),
        &Little.packet(0, 123_456_789_999, b"two", 3),
        &Little.interface(1, 0, &[]),
        &Little.packet(1, 123_456_790, b"of another link", 15),
    ]
    .concat();
    let out = Shared::default();
    let mut port = CapturePort::new()
        .with_input(CaptureReader::new(Cursor::new(file)).unwrap())
        .with_output(out.clone());
    let mut burst = Burst::default();
    port.rx_burst(&mut burst);
    let before: Vec<_> = burst.iter().cloned().collect();
    assert_eq!((port.tx_burst(&mut burst), burst.len()), (3, 0));
    assert_eq!(port.finish().unwrap_err().kind(), io::ErrorKind::InvalidInput, "one link type a file");
    port.finish().unwrap();
    let (after, damage) = read(&out.0.lock().unwrap());
    assert_eq!(
        after.iter().map(facts).collect::<Vec<_>>(),
        before[..2].iter().map(facts).collect::<Vec<_>>()
    );
    assert_eq!((damage, port.counters().tx_frames), (None, 3));

    let empty = Shared::default();
    CapturePort::new().with_output(empty.clone()).finish().unwrap();
    assert!(read(&empty.0.lock().unwrap()).0.is_empty(), "a capture without frames is one");
}

proptest! {
    /// Any bytes behind a good beginning, and good files with damage: never a panic, never more than was there.
    #[test]
    fn hostile_files(
        start in 0usize..5,
        tail in proptest::collection::vec(any::<u8>(), 0..200),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let good = [
            Little.pcap(0xa1b2_c3d4, 4, 1),
            Big.pcap(0xa1b2_cd34, 3, 1),
            [Big.section(), Big.interface(1, 9, &Big.option(9, &[77])), Big.packet(0, u64::MAX, &[7; 50], 60)].concat(),
            [Little.section(), Little.interface(1, 0, &[]), Little.block(3, &[9; 20]), Little.section()].concat(),
            [b"snoop\0\0\0", &Big.u32s(&[2, 4, 60, 3, 28, 0, 7, 5])[..], b"abc\0"].concat(),
        ];
        let mut file = [&good[start][..], &tail].concat();
        for (at, value) in damage {
            let at = at.index(file.len());
            file[at] = value;
        }
        let Ok(reader) = CaptureReader::new(Cursor::new(file.clone())) else { return Ok(()) };
        let bytes: usize = reader.map(|frame| frame.unwrap().bytes().len()).sum();
        prop_assert!(bytes <= file.len());
    }

    /// What is written is read back.
    #[test]
    fn round_trip(frames in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..90), 0u64..1 << 61, 0usize..50), 0..20)) {
        let pool = crate::port::memory::Pool::new(1, 100);
        let mut file = Vec::new();
        let mut writer = CaptureWriter::new(&mut file);
        for (bytes, time, more) in &frames {
            let frame = pool.cut_frame(bytes, bytes.len() + more, Link::Sll2).unwrap();
            writer.write(&frame, *time).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        let (back, damage) = read(&file);
        prop_assert_eq!(damage, None);
        prop_assert_eq!(back.len(), frames.len());
        for (frame, (bytes, time, more)) in back.iter().zip(&frames) {
            prop_assert_eq!((frame.bytes(), frame.time(), frame.wire_len()), (&bytes[..], *time, bytes.len() + more));
        }
    }
}
