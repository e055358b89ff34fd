//! The signature table: from the name of a flow to its service and category.
//!
//! A table is one immutable run of bytes, used where it lies: a file that is mapped, or memory that is handed from
//! one process to another. Names are kept as a tree of labels from the right; every node of the tree lives in the one
//! cache line that a keyed hash of its label and the node above it points to (with the help of a byte per group of
//! labels that the compiler chose so that no line overflows).
//!
//! ```text
//!  www.zhipin.com      label     branch above    line                      found
//!            └── com       hash(root, "com")   ─► line 17  ─► branch 1
//!         └── zhipin       hash(1, "zhipin")   ─► line 805 ─► suffix class 12, nothing below: done
//!                          class 12 ─► service 3, category recruitment
//! ```
//!
//! A label costs one line, found or not, and the walk stops at the first label that is not there: a name that is
//! not listed costs two lines, of which the first is always in cache. The line holds the whole label, so every hit is
//! exact. [`SignatureTable::lookup_batch`] walks 16 names abreast, so that their cache misses overlap.
//!
//! The longest listed suffix wins; an exact entry beats a suffix entry of the same length. Lookups allocate nothing.
//!
//! **Hostile bytes.** [`SignatureTable::from_bytes`] refuses anything with a flipped bit and anything malformed.
//! [`SignatureTable::map`] looks at the header only, in constant time, for bytes whose digest was checked when
//! they were accepted; every lookup is total all the same: on any bytes it ends after one line per label, without
//! panic or allocation, and the worst outcome is a wrong answer.

mod aligned;
pub(crate) mod clues;
pub mod format;
pub mod hash;
pub mod label;
pub mod line;

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;

use crate::category::Category;
use crate::clue::{JA4, Prefix};
use crate::name::{Kind, MAX_LEN, Name};
use crate::signature::{Role, Scope, Tier};
use crate::vocab::{L4, ServiceId};
pub use aligned::Aligned;
pub use format::BadTable;
use format::{DIGEST, ENTRY, Header, RawEntry, RawService, SERVICE, Span};
use hash::Hash;
use label::Label;
use line::{Found, LINE};
use prefetch_index::prefetch_index;

/// Names walked abreast by [`SignatureTable::lookup_batch`].
pub const BATCH: usize = 16;

/// SHA-256 of a table: what every lcore acknowledges.
pub type TableHash = [u8; 32];

/// A compiled signature table. Cloning shares the bytes.
#[derive(Clone)]
pub struct SignatureTable {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    header: Header,
    hash: TableHash,
}

/// What a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The service.
    pub service: ServiceId,
    /// Its category.
    pub category: Category,
    /// Which entry says so, for [`SignatureTable::entry`].
    pub entry: u32,
    /// How many bytes at the end of the name are listed; `0` where something else than the name is.
    pub matched: u8,
    /// Whether the entry lists this name only, or all below it.
    pub scope: Scope,
}

/// A service of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceInfo<'a> {
    /// The key used in rules, records and metrics.
    pub name: &'a str,
    /// What people call it.
    pub title: &'a str,
    /// Where it is used.
    pub region: &'a str,
    /// What it is for.
    pub category: Category,
}

/// What an entry of a table says besides its names: why we think so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryInfo<'a> {
    /// The service.
    pub service: ServiceId,
    /// What the names are for.
    pub role: Role,
    /// How sure.
    pub tier: Tier,
    /// Who says so.
    pub source: &'a str,
    /// SPDX identifier of the licence that the entry is given under.
    pub licence: &'a str,
    /// When it was added.
    pub added: Date,
    /// The last day on which it counts.
    pub expires: Option<Date>,
    /// What a reader should know.
    pub note: &'a str,
    /// The file it was compiled from.
    pub list: &'a str,
}

impl SignatureTable {
    /// Copies bytes from outside and checks all of them: digest, sections, every record, class and service.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadTable> {
        // Before the copy, so that only what calls itself a table is allocated for.
        Header::read(bytes)?;
        let table = Self::map(Arc::new(Aligned::copy_of(bytes)))?;
        table.verify()?;
        Ok(table)
    }

    /// Uses bytes where they lie, after a look at the header: constant time. Give it bytes at a multiple of 64, such
    /// as a mapping; elsewhere a lookup touches two cache lines for one.
    pub fn map(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Self, BadTable> {
        let bytes = (*owner).as_ref();
        let header = Header::read(bytes)?;
        let hash = bytes.last_chunk().copied().ok_or(BadTable::Magic)?;
        Ok(Self { owner, header, hash })
    }

    /// Checks everything that [`SignatureTable::map`] does not: about 40 ms for a million names.
    pub fn verify(&self) -> Result<(), BadTable> {
        let (body, digest) = self.bytes().split_last_chunk::<DIGEST>().ok_or(BadTable::Magic)?;
        if ring::digest::digest(&ring::digest::SHA256, body).as_ref() != digest {
            return Err(BadTable::Checksum);
        }
        let view = self.view();
        let (branches, classes) = (self.header.branches, self.header.class_count());
        if let Some(bad) = view.lines.iter().position(|l| !line::check(l, branches, classes, view.spill)) {
            return Err(BadTable::Line(bad));
        }
        let may_be_clue = |class| view.class(class).is_some_and(|(_, category)| !category.is_about_people());
        clues::check(self.clue_sections(), may_be_clue).map_err(BadTable::Section)?;
        let services = self.header.service_count();
        let mut last = "";
        for n in 1..=services {
            let good = self
                .service(ServiceId(n))
                .filter(|s| crate::signature::is_service_key(s.name) && s.name > last && !s.title.is_empty());
            last = good.ok_or(BadTable::Service(n as usize))?.name;
        }
        for n in 1..=classes {
            let good = (|| {
                let raw = self.raw_entry(n)?;
                [raw.source, raw.licence, raw.note, raw.list]
                    .into_iter()
                    .try_for_each(|s| self.text(s).map(|_| ()))?;
                let (service, category) = view.class(n)?;
                let told = self.service(service).map_or(Category::Unknown, |s| s.category);
                (raw.service == service.0 && service.0 <= services && told == category).then_some(())
            })();
            good.ok_or(BadTable::Class(n as usize))?;
        }
        Ok(())
    }

    /// The table as bytes: what is written to a file or handed to the fast path.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    /// The bytes, where they lie.
    pub fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref()
    }

    /// SHA-256 at the end of the table. Equal hashes are equal bytes once [`SignatureTable::verify`] has passed.
    pub fn hash(&self) -> TableHash {
        self.hash
    }

    /// SHA-256 of what the table was compiled from: equal for equal sources and options, whatever the key.
    pub fn content_hash(&self) -> [u8; 32] {
        self.header.content
    }

    /// Counts up with every pack of a publisher; `0` where nobody counts.
    pub fn serial(&self) -> u64 {
        self.header.serial
    }

    /// How many names are listed.
    pub fn names(&self) -> usize {
        self.header.names as usize
    }

    /// What a name belongs to, if it is listed. Only host names are.
    pub fn lookup(&self, name: &Name) -> Option<Match> {
        let view = self.view();
        let mut walk = Walk::of(name);
        while walk.live {
            view.aim(&mut walk);
            view.place(&mut walk);
            view.step(&mut walk);
        }
        view.matched(&walk)
    }

    /// Looks up many names: `out` gets one answer per name, in order. Names beyond the length of `out` are left.
    pub fn lookup_batch(&self, names: &[&Name], out: &mut [Option<Match>]) {
        let view = self.view();
        for (names, out) in names.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            view.batch(names, out);
        }
    }

    /// What a server's address and port stand for: that of the longest prefix that is listed. Never a category about
    /// people. The address as [`crate::matrix::address_key`] writes it.
    pub fn lookup_address(&self, address: &[u8; 16], l4: L4, port: u16) -> Option<Match> {
        self.clue(self.prefix(address, l4, port)?.1)
    }

    /// The prefix that [`SignatureTable::lookup_address`] finds.
    pub fn prefix_of(&self, address: &[u8; 16], l4: L4, port: u16) -> Option<Prefix> {
        self.prefix(address, l4, port).map(|(prefix, _)| prefix)
    }

    fn prefix(&self, address: &[u8; 16], l4: L4, port: u16) -> Option<(Prefix, u32)> {
        let [addresses, _, _] = self.clue_sections();
        clues::address(addresses, address, l4, port)
    }

    /// What an ALPN identifier that the client offers stands for. Never a category about people.
    pub fn lookup_alpn(&self, id: &[u8]) -> Option<Match> {
        let [_, alpns, _] = self.clue_sections();
        self.clue(clues::alpn(alpns, id)?)
    }

    /// What the fingerprint of a hello stands for. Never a category about people.
    pub fn lookup_ja4(&self, fingerprint: &[u8; JA4]) -> Option<Match> {
        let [_, _, ja4s] = self.clue_sections();
        self.clue(clues::ja4(ja4s, fingerprint)?)
    }

    /// Whether any ALPN identifier is listed.
    pub fn has_protocols(&self) -> bool {
        self.header.alpns.len > 0
    }

    /// Whether any fingerprint is listed: making one costs two hashes.
    pub fn has_fingerprints(&self) -> bool {
        self.header.ja4s.len > 0
    }

    fn clue_sections(&self) -> [&[u8]; 3] {
        let Header { addresses, alpns, ja4s, .. } = &self.header;
        [addresses, alpns, ja4s].map(|span| span.of(self.bytes()))
    }

    fn clue(&self, class: u32) -> Option<Match> {
        let (service, category) = self.view().class(class)?;
        let counts = service != ServiceId::NONE && !category.is_about_people();
        counts.then_some(Match { service, category, entry: class, matched: 0, scope: Scope::Exact })
    }

    /// What the names of an entry are for: one line of the cache, where [`SignatureTable::entry`] reads its texts too.
    pub fn role(&self, entry: u32) -> Option<Role> {
        self.raw_entry(entry).map(|raw| raw.role)
    }

    /// A service by its number.
    pub fn service(&self, id: ServiceId) -> Option<ServiceInfo<'_>> {
        let services = self.header.services.of(self.bytes());
        let at = (id.0 as usize).checked_sub(1)?.checked_mul(SERVICE)?;
        let raw = RawService::from_bytes(services.get(at..)?.first_chunk()?)?;
        Some(ServiceInfo {
            name: self.text(raw.key)?,
            title: self.text(raw.title)?,
            region: self.text(raw.region)?,
            category: raw.category,
        })
    }

    /// All services with their numbers, sorted by key.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, ServiceInfo<'_>)> {
        (1..=self.header.service_count()).filter_map(|n| Some((ServiceId(n), self.service(ServiceId(n))?)))
    }

    /// The number of a service, by its key.
    pub fn service_named(&self, key: &str) -> Option<ServiceId> {
        let (mut low, mut high) = (1, self.header.service_count());
        while low <= high {
            let middle = low + (high - low) / 2;
            match self.service(ServiceId(middle))?.name.cmp(key) {
                std::cmp::Ordering::Equal => return Some(ServiceId(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle - 1,
            }
        }
        None
    }

    /// What the entry of a [`Match`] says.
    pub fn entry(&self, entry: u32) -> Option<EntryInfo<'_>> {
        let raw = self.raw_entry(entry)?;
        Some(EntryInfo {
            service: ServiceId(raw.service),
            role: raw.role,
            tier: raw.tier,
            source: self.text(raw.source)?,
            licence: self.text(raw.licence)?,
            added: raw.added,
            expires: raw.expires,
            note: self.text(raw.note)?,
            list: self.text(raw.list)?,
        })
    }

    fn raw_entry(&self, entry: u32) -> Option<RawEntry> {
        let at = (entry as usize).checked_sub(1)?.checked_mul(ENTRY)?;
        RawEntry::from_bytes(self.header.entries.of(self.bytes()).get(at..)?.first_chunk()?)
    }

    fn text(&self, span: Span) -> Option<&str> {
        let strings = self.header.strings.of(self.bytes());
        let bytes = strings.get(span.at as usize..)?.get(..span.len as usize)?;
        std::str::from_utf8(bytes).ok()
    }

    #[inline]
    fn view(&self) -> View<'_> {
        let bytes = self.bytes();
        View {
            lines: self.header.lines.of(bytes).as_chunks().0,
            pilots: self.header.pilots.of(bytes),
            spill: self.header.spill.of(bytes),
            classes: self.header.classes.of(bytes).as_chunks().0,
            header: &self.header,
        }
    }
}

impl fmt::Debug for SignatureTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureTable")
            .field("names", &self.names())
            .field("services", &self.header.service_count())
            .field("bytes", &self.bytes().len())
            .finish_non_exhaustive()
    }
}

/// The sections that a lookup reads.
struct View<'a> {
    lines: &'a [[u8; LINE]],
    pilots: &'a [u8],
    spill: &'a [u8],
    classes: &'a [[u8; 4]],
    header: &'a Header,
}

/// A name on its way down the tree. Small, because sixteen of them are set up for every batch.
#[derive(Clone, Copy)]
struct Walk<'n> {
    name: &'n [u8; MAX_LEN],
    /// The label in hand.
    label: Label<'n>,
    hash: Hash,
    line: u32,
    branch: u32,
    /// Class of the best match so far.
    class: u32,
    /// Where the name of the best match begins.
    class_start: u8,
    scope: Scope,
    /// Where the label in hand begins, and where it ends.
    start: u8,
    end: u8,
    len: u8,
    live: bool,
}

impl<'n> Walk<'n> {
    const NOBODY: Self = Self {
        name: &[0; MAX_LEN],
        label: Label::NONE,
        hash: Hash::NONE,
        line: 0,
        branch: 0,
        class: 0,
        class_start: 0,
        scope: Scope::Suffix,
        start: 0,
        end: 0,
        len: 0,
        live: false,
    };

    #[inline]
    fn of(name: &'n Name) -> Self {
        let len = name.as_bytes().len() as u8;
        let live = name.kind() == Kind::Host && len > 0;
        Self { name: name.buffer(), end: len, len, live, ..Self::NOBODY }
    }
}

impl View<'_> {
    fn batch(&self, names: &[&Name], out: &mut [Option<Match>]) {
        let mut walks = [Walk::NOBODY; BATCH];
        for (walk, name) in walks.iter_mut().zip(names) {
            *walk = Walk::of(name);
        }
        loop {
            let mut live = 0;
            for walk in walks.iter_mut().filter(|w| w.live) {
                self.aim(walk);
                live += 1;
            }
            if live == 0 {
                break;
            }
            // The pilots are asked for in one pass, the lines in another, so that the misses of all walks overlap: a load in
            // place of each prefetch would hold up what is behind it.
            for walk in walks.iter_mut().filter(|w| w.live) {
                self.place(walk);
                prefetch_index(self.lines, walk.line as usize);
            }
            for walk in walks.iter_mut().filter(|w| w.live) {
                self.step(walk);
            }
        }
        for ((out, walk), _) in out.iter_mut().zip(&walks).zip(names) {
            *out = self.matched(walk);
        }
    }

    /// Takes the next label from the right and asks for the pilot of its group.
    #[inline(always)]
    fn aim(&self, walk: &mut Walk<'_>) {
        let (label, start) = Label::before(walk.name, usize::from(walk.end));
        (walk.label, walk.start) = (label, start as u8);
        walk.hash = self.header.key.hash(walk.branch, &walk.label);
        prefetch_index(self.pilots, walk.hash.group(self.header.groups) as usize);
    }

    /// Finds the line where the label would be.
    #[inline(always)]
    fn place(&self, walk: &mut Walk<'_>) {
        let group = walk.hash.group(self.header.groups);
        let pilot = self.pilots.get(group as usize).copied().unwrap_or_default();
        walk.line = walk.hash.line(pilot, self.header.line_count());
    }

    /// Looks at the line and goes on to the label before, or ends the walk.
    #[inline(always)]
    fn step(&self, walk: &mut Walk<'_>) {
        let line = self.lines.get(walk.line as usize);
        let found = line.and_then(|l| line::find(l, walk.hash.tag(), walk.branch, &walk.label, self.spill));
        let Some(Found { suffix, exact, branch }) = found else {
            walk.live = false;
            return;
        };
        if suffix != 0 {
            (walk.class, walk.class_start, walk.scope) = (suffix, walk.start, Scope::Suffix);
        }
        if exact != 0 && walk.start == 0 {
            (walk.class, walk.class_start, walk.scope) = (exact, 0, Scope::Exact);
        }
        walk.branch = branch;
        walk.live = branch != 0 && walk.start != 0;
        walk.end = walk.start.wrapping_sub(1);
    }

    #[inline]
    fn class(&self, class: u32) -> Option<(ServiceId, Category)> {
        let &[a, b, c, category] = self.classes.get((class as usize).checked_sub(1)?)?;
        Some((ServiceId(u32::from_le_bytes([a, b, c, 0])), Category::from_code(category)?))
    }

    #[inline]
    fn matched(&self, walk: &Walk<'_>) -> Option<Match> {
        let (service, category) = self.class(walk.class)?;
        if service == ServiceId::NONE {
            return None;
        }
        Some(Match {
            service,
            category,
            entry: walk.class,
            matched: walk.len.saturating_sub(walk.class_start),
            scope: walk.scope,
        })
    }
}
