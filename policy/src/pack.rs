//! Packs: a compiled table with a signature, as one immutable file.
//!
//! ```text
//!    0 magic │ 8 length │ 16 created │ 24 serial │ 32 needs │ 40 key id │ 48 SHA-256 of the table │ 80 publisher
//!  128 Ed25519 signature over the bytes before it │ 192 zero │ 256 table, see [`crate::table::format`]
//! ```
//!
//! Everything is little endian. The signature covers the header, the header names the digest of the table, and the table
//! ends with that digest. So there are two questions, at two prices, asked at two times:
//!
//! - [`Pack::open`]: who signed this, and is it complete? Header, signature and bounds: microseconds, whatever the size. The
//!   table can be used where it lies: a lookup is total over any bytes, so the worst that damaged or hostile bytes behind
//!   a good header can do is to give a wrong answer.
//! - [`Pack::verify`]: is it, to the last byte, what was signed? Digest and every record: 40 ms for a million names,
//!   before verdicts are made from it, never on the fast path.
//!
//! Refused: another magic, a length that is not the file's, an unknown or missing key, a signature that does not fit, a pack
//! for a newer program, a serial below the floor.

use crate::SignatureTable;
use crate::table::BadTable;
use crate::table::format::MAX_BYTES as MAX_TABLE;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use std::fmt;
use std::sync::Arc;

/// Bytes of the header; the table behind it begins at a cache line.
pub const HEADER: usize = 256;
/// The largest pack.
pub const MAX_BYTES: usize = HEADER + MAX_TABLE;
const MAGIC: [u8; 8] = *b"GGPACK01";
const SIGNED: usize = 128;
const PUBLISHER: usize = SIGNED - 80;
/// What is signed begins with this, so that a signature over a pack is one over nothing else.
const DOMAIN: &[u8] = b"glassgate pack 1\0";
const _: () = assert!(HEADER.is_multiple_of(64));

/// A public key that packs may be signed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads `ed25519:` and 64 hexadecimal digits.
    pub fn from_text(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("ed25519:")?;
        let mut key = [0; 32];
        if hex.len() != 2 * key.len() || !hex.is_ascii() {
            return None;
        }
        for (byte, at) in key.iter_mut().zip((0..).step_by(2)) {
            let digits = hex.get(at..at + 2).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(key))
    }

    /// The public half of a key pair.
    pub fn of(pair: &Ed25519KeyPair) -> Self {
        Self(pair.public_key().as_ref().try_into().unwrap_or_default())
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What a pack calls the key: the first eight bytes of its SHA-256.
    pub fn id(&self) -> KeyId {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.0);
        KeyId(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ed25519:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Short for a public key. Zero: not signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A version of the program: major, minor, patch.
pub type Version = [u16; 3];

/// The version of this program.
pub fn this_version() -> Version {
    let mut parts = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Seconds since 1970, by the clock of whoever made it.
    pub created: u64,
    /// Counts up with every pack of a publisher.
    pub serial: u64,
    /// The lowest version of the program that understands it.
    pub needs: Version,
    /// Who signed it; zero if nobody did.
    pub key: KeyId,
    /// SHA-256 of the table, see [`SignatureTable::hash`].
    pub table: [u8; 32],
    /// Who made it, in words: at most 48 bytes.
    pub publisher: String,
}

/// Why a file is no pack that may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPack {
    /// Too short, too long, or cut off.
    #[error("the pack has {found} bytes where its header says {expected}")]
    Length {
        /// What the header says, or the bound that is passed.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Another file, or another format.
    #[error("this is no signature pack of version 1")]
    Magic,
    /// A field that can't be.
    #[error("the header of the pack is malformed at byte {0}")]
    Header(usize),
    /// Nobody signed it.
    #[error("the pack is not signed")]
    Unsigned,
    /// Signed by somebody who is not trusted.
    #[error("the pack is signed with key {0}, which is not among the trusted keys")]
    UnknownKey(KeyId),
    /// Changed after it was signed, or signed by somebody else under this key's name.
    #[error("the signature of the pack does not fit")]
    Signature,
    /// For a newer program.
    #[error("the pack needs glassgate {}.{}.{}", .0[0], .0[1], .0[2])]
    Needs(Version),
    /// Older than what is accepted.
    #[error("the pack has serial {found}, and {floor} is the lowest that is accepted")]
    Serial {
        /// Of the pack.
        found: u64,
        /// What is accepted.
        floor: u64,
    },
    /// The table is malformed.
    #[error(transparent)]
    Table(#[from] BadTable),
    /// The table is not the one that was signed.
    #[error("the table of the pack is not the one that its header names")]
    OtherTable,
}

/// A pack whose header and signature were checked.
#[derive(Clone, Debug)]
pub struct Pack {
    info: Info,
    table: SignatureTable,
}

type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

impl Pack {
    /// Checks header and signature, in constant time, and uses the table where it lies. Give it bytes at a multiple
    /// of 64. `floor` is the lowest serial that is accepted.
    pub fn open(owner: Owner, trusted: &[PublicKey], floor: u64) -> Result<Self, BadPack> {
        let bytes = (*owner).as_ref();
        let (info, _) = read(bytes)?;
        if info.key == KeyId::default() {
            return Err(BadPack::Unsigned);
        }
        let key = trusted.iter().find(|key| key.id() == info.key).ok_or(BadPack::UnknownKey(info.key))?;
        let signature = bytes.get(SIGNED..SIGNED + 64).ok_or(BadPack::Signature)?;
        let message = message(bytes.get(..SIGNED).unwrap_or_default());
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&message, signature)
            .map_err(|_| BadPack::Signature)?;
        if info.needs > this_version() {
            return Err(BadPack::Needs(info.needs));
        }
        if info.serial < floor {
            return Err(BadPack::Serial { found: info.serial, floor });
        }
        Self::of(owner, info)
    }

    /// Reads a pack whoever signed it, or nobody: to look at, not to use.
    pub fn look(owner: Owner) -> Result<Self, BadPack> {
        let (info, _) = read((*owner).as_ref())?;
        Self::of(owner, info)
    }

    fn of(owner: Owner, info: Info) -> Result<Self, BadPack> {
        let table = SignatureTable::map(Arc::new(Behind(owner)))?;
        if table.hash() != info.table {
            return Err(BadPack::OtherTable);
        }
        Ok(Self { info, table })
    }

    /// Checks that the table is, to the last byte, the one that was signed, and every record of it.
    pub fn verify(&self) -> Result<(), BadPack> {
        Ok(self.table.verify()?)
    }

    /// What the header says.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The table.
    pub fn table(&self) -> &SignatureTable {
        &self.table
    }
}

/// Makes a pack without a signature. The table's hash and, in `info`, everything but `table` and `key` count.
pub fn build(table: &SignatureTable, info: &Info) -> Vec<u8> {
    let total = HEADER + table.bytes().len();
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(total as u64).to_le_bytes());
    out.extend_from_slice(&info.created.to_le_bytes());
    out.extend_from_slice(&info.serial.to_le_bytes());
    info.needs.iter().for_each(|part| out.extend_from_slice(&part.to_le_bytes()));
    out.resize(40 + 8, 0);
    out.extend_from_slice(&table.hash());
    let end = (0..=info.publisher.len().min(PUBLISHER)).rev().find(|n| info.publisher.is_char_boundary(*n));
    out.extend(info.publisher.bytes().take(end.unwrap_or(0)));
    out.resize(HEADER, 0);
    out.extend_from_slice(table.bytes());
    out
}

/// Signs a pack, in place of whoever signed it before.
pub fn sign(pack: &mut [u8], key: &Ed25519KeyPair) -> Result<KeyId, BadPack> {
    read(pack)?;
    let id = PublicKey::of(key).id();
    put(pack, 40, &id.0);
    let signature = key.sign(&message(pack.get(..SIGNED).unwrap_or_default()));
    put(pack, SIGNED, signature.as_ref());
    Ok(id)
}

fn put(to: &mut [u8], at: usize, from: &[u8]) {
    to.iter_mut().skip(at).zip(from).for_each(|(to, from)| *to = *from);
}

fn message(header: &[u8]) -> Vec<u8> {
    [DOMAIN, header].concat()
}

/// Reads the header; gives the signature, too.
fn read(bytes: &[u8]) -> Result<(Info, [u8; 64]), BadPack> {
    let found = bytes.len() as u64;
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Err(BadPack::Length { expected: HEADER as u64, found });
    };
    let mut rest: &[u8] = header;
    let magic: [u8; 8] = take(&mut rest);
    if magic != MAGIC {
        return Err(BadPack::Magic);
    }
    let expected = u64::from_le_bytes(take(&mut rest));
    if expected != found || found > MAX_BYTES as u64 {
        return Err(BadPack::Length { expected: expected.min(MAX_BYTES as u64), found });
    }
    let (created, serial) = (u64::from_le_bytes(take(&mut rest)), u64::from_le_bytes(take(&mut rest)));
    let needs = std::array::from_fn(|_| u16::from_le_bytes(take(&mut rest)));
    if take::<2>(&mut rest) != [0; 2] {
        return Err(BadPack::Header(38));
    }
    let (key, table) = (KeyId(take(&mut rest)), take(&mut rest));
    let publisher: [u8; PUBLISHER] = take(&mut rest);
    let text = publisher.split(|b| *b == 0).next().unwrap_or_default();
    let publisher_ends = publisher.iter().skip(text.len()).all(|b| *b == 0);
    let publisher = std::str::from_utf8(text).ok().filter(|_| publisher_ends).ok_or(BadPack::Header(80))?;
    let signature = take(&mut rest);
    if rest.iter().any(|b| *b != 0) {
        return Err(BadPack::Header(192));
    }
    let publisher = publisher.to_owned();
    Ok((Info { created, serial, needs, key, table, publisher }, signature))
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((head, tail)) => {
            *rest = tail;
            *head
        }
        None => [0; N],
    }
}

/// What lies behind the header.
struct Behind(Owner);

impl AsRef<[u8]> for Behind {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref().get(HEADER..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
