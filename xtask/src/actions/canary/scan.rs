//! Looks for canaries: as they were sent, and as a program might have written them down.
//!
//! A canary is 16 random bytes, or 22 letters and digits where a protocol wants text. What is looked for is every run of 8 of its
//! bytes: raw, in hexadecimal of either case, in Base64 of either alphabet at each of its three alignments, as UTF-16 of either
//! order, with every byte percent-encoded; and all of that again in what gzip and zstd streams hold, wherever one begins.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a canary that are enough.
const RUN: usize = 8;
/// Bits of the first look: most places of a file are none of ours after it.
const BLOOM_BITS: usize = 1 << 27;
/// The most that a compressed stream may hold.
const MAX_INFLATED: u64 = 256 << 20;

/// How a canary may be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Form {
    /// As it was sent.
    Raw,
    /// Hexadecimal, lower case.
    Hex,
    /// Hexadecimal, upper case.
    HexUpper,
    /// Base64, so many bytes after a multiple of three.
    Base64(u8),
    /// Base64 in the alphabet of addresses.
    Base64Url(u8),
    /// UTF-16, little-endian.
    Utf16,
    /// UTF-16, big-endian.
    Utf16Be,
    /// Percent-encoded, lower case.
    Percent,
    /// Percent-encoded, upper case.
    PercentUpper,
}

/// All forms.
pub(super) const FORMS: [Form; 13] = [
    Form::Raw,
    Form::Hex,
    Form::HexUpper,
    Form::Base64(0),
    Form::Base64(1),
    Form::Base64(2),
    Form::Base64Url(0),
    Form::Base64Url(1),
    Form::Base64Url(2),
    Form::Utf16,
    Form::Utf16Be,
    Form::Percent,
    Form::PercentUpper,
];

impl Form {
    /// Bytes in this form. Of Base64 only what they alone decide.
    pub(super) fn write(self, bytes: &[u8]) -> Vec<u8> {
        let each = |f: &dyn Fn(u8) -> String| bytes.iter().map(|b| f(*b)).collect::<String>().into_bytes();
        let base64 = |engine: &base64::engine::GeneralPurpose, before: u8| {
            let padded = [&vec![0; usize::from(before)], bytes].concat();
            let text = engine.encode(&padded).into_bytes();
            let first = (usize::from(before) * 8).div_ceil(6);
            text[first..padded.len() * 8 / 6].to_vec()
        };
        match self {
            Self::Raw => bytes.to_vec(),
            Self::Hex => each(&|b| format!("{b:02x}")),
            Self::HexUpper => each(&|b| format!("{b:02X}")),
            Self::Base64(before) => base64(&STANDARD_NO_PAD, before),
            Self::Base64Url(before) => base64(&URL_SAFE_NO_PAD, before),
            Self::Utf16 => bytes.iter().flat_map(|b| [*b, 0]).collect(),
            Self::Utf16Be => bytes.iter().flat_map(|b| [0, *b]).collect(),
            Self::Percent => each(&|b| format!("%{b:02x}")),
            Self::PercentUpper => each(&|b| format!("%{b:02X}")),
        }
    }
}

/// The canary of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Canary {
    /// Where any bytes can go.
    pub bytes: [u8; 16],
    /// Where only letters and digits can.
    pub text: String,
}

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Canary {
    /// So many, no two alike.
    pub(super) fn random(n: usize) -> Result<Vec<Self>> {
        let random = SystemRandom::new();
        let fill = |bytes: &mut [u8]| random.fill(bytes).map_err(|_| anyhow::anyhow!("no random numbers"));
        (0..n)
            .map(|_| {
                let (mut bytes, mut letters) = ([0; 16], [0; 22]);
                fill(&mut bytes)?;
                fill(&mut letters)?;
                let text = letters.iter().map(|b| char::from(LETTERS[usize::from(*b) % LETTERS.len()]));
                Ok(Self { bytes, text: text.collect() })
            })
            .collect()
    }
}

/// Where a canary was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    /// Which canary.
    pub canary: usize,
    /// As what.
    pub form: Form,
    /// In what.
    pub place: String,
    /// At which byte of it.
    pub at: usize,
}

/// Finds canaries.
pub(super) struct Scanner {
    canaries: Vec<Canary>,
    bloom: Vec<u64>,
    /// The first eight bytes of each run in each form, sorted, with what it is.
    runs: Vec<(u64, u32, u8)>,
    /// Bytes looked through, decompressed ones included.
    pub bytes: u64,
    /// Compressed streams looked into.
    pub streams: u64,
}

impl Scanner {
    /// One for these canaries.
    pub(super) fn new(canaries: Vec<Canary>) -> Self {
        let mut runs = Vec::with_capacity(canaries.len() * 24 * FORMS.len());
        for (number, canary) in canaries.iter().enumerate() {
            for source in [canary.bytes.as_slice(), canary.text.as_bytes()] {
                for run in source.windows(RUN) {
                    for (form, kind) in FORMS.iter().zip(0..) {
                        if let Some(key) = key(&form.write(run)) {
                            runs.push((key, number as u32, kind));
                        }
                    }
                }
            }
        }
        runs.sort_unstable();
        runs.dedup();
        let mut bloom = vec![0u64; BLOOM_BITS / 64];
        for (key, ..) in &runs {
            let bit = bit(*key);
            bloom[bit / 64] |= 1 << (bit % 64);
        }
        Self { canaries, bloom, runs, bytes: 0, streams: 0 }
    }

    /// Looks through bytes, and through what is compressed in them.
    pub(super) fn bytes(&mut self, place: &str, bytes: &[u8], hits: &mut Vec<Hit>) {
        self.plain(place, bytes, hits);
        for at in 0..bytes.len().saturating_sub(4) {
            let inflated = match &bytes[at..at + 4] {
                [0x1f, 0x8b, 8, _] => inflate(flate2::read::MultiGzDecoder::new(&bytes[at..])),
                [0x28, 0xb5, 0x2f, 0xfd] => match ruzstd::decoding::StreamingDecoder::new(&bytes[at..]) {
                    Ok(decoder) => inflate(decoder),
                    Err(_) => continue,
                },
                _ => continue,
            };
            if !inflated.is_empty() {
                self.streams += 1;
                self.plain(&format!("{place}, decompressed from byte {at}"), &inflated, hits);
            }
        }
    }

    fn plain(&mut self, place: &str, bytes: &[u8], hits: &mut Vec<Hit>) {
        self.bytes += bytes.len() as u64;
        for (at, window) in bytes.windows(RUN).enumerate() {
            let Some(key) = key(window) else { continue };
            let bit = bit(key);
            if self.bloom[bit / 64] & (1 << (bit % 64)) == 0 {
                continue;
            }
            let from = self.runs.partition_point(|run| run.0 < key);
            for (_, number, kind) in self.runs[from..].iter().take_while(|run| run.0 == key) {
                let (canary, form) = (&self.canaries[*number as usize], FORMS[usize::from(*kind)]);
                let sources = [canary.bytes.as_slice(), canary.text.as_bytes()];
                let mut runs = sources.iter().flat_map(|source| source.windows(RUN));
                if runs.any(|run| bytes[at..].starts_with(&form.write(run))) {
                    hits.push(Hit { canary: *number as usize, form, place: place.to_owned(), at });
                }
            }
        }
    }

    /// Looks through a file, or all files of a folder but those whose path ends like one of `but`.
    pub(super) fn files(&mut self, path: &Path, but: &[&str], hits: &mut Vec<Hit>) -> Result<usize> {
        let shown = path.display().to_string();
        if but.iter().any(|end| shown.ends_with(end)) {
            return Ok(0);
        }
        let Ok(meta) = path.symlink_metadata() else { return Ok(0) };
        // The name of a file can tell as much as what is in it.
        self.plain(&format!("the name {shown}"), shown.as_bytes(), hits);
        if meta.is_dir() {
            let mut files = 0;
            for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {shown}"))? {
                files += self.files(&entry?.path(), but, hits)?;
            }
            return Ok(files);
        }
        if !meta.is_file() {
            return Ok(0);
        }
        // What is deleted meanwhile is gone.
        let Ok(bytes) = std::fs::read(path) else { return Ok(0) };
        self.bytes(&shown, &bytes, hits);
        Ok(1)
    }

    /// Looks through the memory of a process, as far as it can be read.
    pub(super) fn memory(&mut self, pid: u32, what: &str, hits: &mut Vec<Hit>) -> Result<()> {
        use std::os::unix::fs::FileExt;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let memory = std::fs::File::open(format!("/proc/{pid}/mem"))?;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
            // Programs and libraries are the same for everybody.
            let is_code = line.contains(" /") && !line.contains("memfd") && !line.contains("/dev/shm");
            if !rights.starts_with('r') || is_code || line.ends_with("[vvar]") {
                continue;
            }
            let Some((from, to)) = range.split_once('-') else { continue };
            let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
            let mut at = from;
            while at < to {
                // With an overlap, so that nothing is missed at the edges.
                let len = (to - at).min(16 << 20);
                let mut bytes = vec![0; len as usize];
                if memory.read_exact_at(&mut bytes, at).is_err() {
                    break;
                }
                self.plain(&format!("{what}, memory at {at:x}"), &bytes, hits);
                at += if len == 16 << 20 { len - 64 } else { len };
            }
        }
        Ok(())
    }
}

/// The canaries that were hit, and in which forms.
pub(super) fn summary(hits: &[Hit]) -> (BTreeSet<usize>, BTreeSet<Form>) {
    (hits.iter().map(|hit| hit.canary).collect(), hits.iter().map(|hit| hit.form).collect())
}

fn key(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|first| u64::from_le_bytes(*first))
}

fn bit(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37) as usize % BLOOM_BITS
}

fn inflate(stream: impl Read) -> Vec<u8> {
    let mut inflated = Vec::new();
    // What comes before an error is looked at too: a stream may be cut.
    drop(stream.take(MAX_INFLATED).read_to_end(&mut inflated));
    inflated
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A text in which each form of each run of each canary stands somewhere, and is found as that.
    #[test]
    fn every_run_in_every_form_is_found_wherever_it_is_planted() {
        let canaries = Canary::random(3).unwrap();
        let mut scanner = Scanner::new(canaries.clone());
        let dir = tempfile::tempdir().unwrap();
        let mut planted = 0;
        for (number, canary) in canaries.iter().enumerate() {
            for source in [canary.bytes.as_slice(), canary.text.as_bytes()] {
                for (run, form) in source.windows(RUN).flat_map(|run| FORMS.map(|form| (run, form))) {
                    let text = [b"{\"path\":\"", form.write(run).as_slice(), b"\"}"].concat();
                    let mut hits = Vec::new();
                    scanner.bytes("text", &text, &mut hits);
                    assert!(
                        hits.iter().any(|hit| hit.canary == number && hit.form == form && hit.at == 9),
                        "{form:?}"
                    );
                    planted += 1;
                }
            }
        }
        assert_eq!(planted, 3 * (9 + 15) * FORMS.len());
        // In a file, in the name of a file, in compressed streams in the middle of others.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&[b"some text before ", canaries[0].bytes.as_slice()].concat()).unwrap();
        let gzip = [b"junk".to_vec(), gzip.finish().unwrap(), b"junk".to_vec()].concat();
        let zstd = ruzstd::encoding::compress_to_vec(
            format!("some text {}", canaries[1].text).as_bytes(),
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        for (name, bytes, canary) in [
            ("a", gzip, 0),
            ("deep/b", [b"\0\0".to_vec(), zstd].concat(), 1),
            (canaries[2].text.as_str(), Vec::new(), 2),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let mut hits = Vec::new();
            assert_eq!(scanner.files(dir.path(), &[], &mut hits).unwrap(), 1);
            assert_eq!(summary(&hits).0, BTreeSet::from([canary]), "{name}");
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(scanner.streams, 2);
    }

    #[test]
    fn what_base64_makes_of_it_is_found_at_any_alignment() {
        let canary = Canary::random(1).unwrap();
        let mut scanner = Scanner::new(canary.clone());
        for before in 0..6 {
            for after in 0..4 {
                let bytes = [vec![7; before], canary[0].bytes.to_vec(), vec![9; after]].concat();
                for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
                    let mut hits = Vec::new();
                    scanner.bytes("text", text.as_bytes(), &mut hits);
                    assert!(!hits.is_empty(), "{before} {after}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let mut scanner = Scanner::new(Canary::random(500).unwrap());
        let mut bytes = vec![0; 4 << 20];
        SystemRandom::new().fill(&mut bytes).unwrap();
        let mut hits = Vec::new();
        scanner.bytes("noise", &bytes, &mut hits);
        scanner.bytes("text", "0123456789abcdef".repeat(10_000).as_bytes(), &mut hits);
        assert_eq!(hits, []);
        assert_eq!(scanner.bytes, (4 << 20) + 160_000);
    }
}
