//! The verdict matrix: what rules, charter, calendar and identity compile to.
//!
//! `[group][column] → Verdict`. A column is a category, or a service that some rule singles out. The matrix is
//! immutable; the slow path compiles a new one and the fast path swaps to it by epoch and acknowledges its hash.
//! One lookup is two loads: the column of the service, then the cell.
//!
//! Two ends: after `valid_until_ns` the whole matrix decays to [`Verdict::FAIL_OPEN`]; after `observe_until_ns`, which is
//! the next moment at which charter or calendar may take something back, only its levels do. Both hold without
//! anybody's help, so a slow path that hangs can't leave anything open.

mod members;

use crate::category::Category;
use crate::charter::{PageDigest, page_digest};
use crate::limit::{
    Amount, Every, Limit, LimitId, LimitKey, MAX_LIMITS, Pace, Per, Quota, Rate, RuleLimit, Windows,
};
use crate::vocab::{Action, GroupId, ObservationLevel, ServiceId, Unobserved, Verdict};

pub use members::{MAX_MEMBERS, Member, Members, key as address_key};

const MAGIC: [u8; 8] = *b"GGMATRX8";
const HEADER: usize = 8 + 8 + 8 + 8 + 4 + 4 + 4 + 4 + 4 + 4 + 4 + 2 + 2 + 2;
/// A limit: its key, its rate or amount, in what time, and who shares it.
const LIMIT: usize = 8 + 8 + 1 + 1;
/// The most pages, and the longest: one segment, whatever stands before it.
pub const MAX_PAGES: usize = 255;
/// See [`MAX_PAGES`].
pub const MAX_PAGE: usize = 1200;
/// The most notices, and the longest: with all of them full, 1 MiB.
pub const MAX_NOTICES: usize = 64;
/// See [`MAX_NOTICES`].
pub const MAX_NOTICE: usize = crate::charter::MAX_NOTICE_BODY;
const _: () = assert!(MAX_NOTICE <= u16::MAX as usize);
/// In the place of the number of a limit, page or notice: none.
const NO_NUMBER: u8 = u8::MAX;
const _: () = assert!(MAX_LIMITS <= NO_NUMBER as usize && MAX_PAGES <= NO_NUMBER as usize);
const DIGEST: usize = 32;
/// The most groups and columns a matrix may have; with both full its cells take 64 MiB, and as much again where some are
/// limited.
pub const MAX_GROUPS: usize = 4096;
/// See [`MAX_GROUPS`].
pub const MAX_COLUMNS: usize = 16_384;

/// SHA-256 of an encoded matrix: what every lcore acknowledges.
pub type MatrixHash = [u8; 32];

/// The compiled verdicts for every group and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictMatrix {
    epoch: u64,
    /// Monotonic nanoseconds after which the matrix decays to [`Verdict::FAIL_OPEN`].
    valid_until_ns: u64,
    /// Monotonic nanoseconds after which every level is [`ObservationLevel::None`].
    observe_until_ns: u64,
    groups: usize,
    columns: usize,
    cells: Vec<u8>,
    /// Whether one of them blocks.
    blocks: bool,
    /// The limits of cells whose action is [`Action::Limit`].
    limits: Vec<RuleLimit>,
    /// Which hour, day and week it is.
    windows: Windows,
    /// What clients of cells whose action is [`Action::Block`] are told over HTTP: whole responses.
    pages: Vec<Box<[u8]>>,
    /// What clients of cells whose action is [`Action::Notice`] are shown over HTTP: pages without a head.
    notices: Vec<Notice>,
    /// For each cell the number of its limit, page or notice; empty where there are none.
    numbers: Vec<u8>,
    /// For each group, why what is not observed is not: codes of [`Unobserved`].
    unobserved: Vec<u8>,
    /// Sorted by service: services with a column of their own.
    own_columns: Vec<(ServiceId, u16)>,
    /// Which group a client belongs to.
    members: Members,
}

/// A page that is shown, with what its receipts name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The page.
    pub page: Box<[u8]>,
    /// Its digest, which no lcore should compute.
    pub digest: PageDigest,
}

/// Why bytes are no matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMatrix {
    /// Too short, or not the length its header says.
    #[error("the matrix has {found} bytes where its header asks for {expected}")]
    Length {
        /// What the header asks for.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// Another file, or another version.
    #[error("this is no verdict matrix of version 8")]
    Magic,
    /// Damaged on the way.
    #[error("the matrix does not match its checksum")]
    Checksum,
    /// Over [`MAX_GROUPS`], [`MAX_COLUMNS`] or [`MAX_MEMBERS`], or under one group.
    #[error("a matrix of {groups} groups and {columns} columns is out of bounds")]
    Bounds {
        /// Groups in the header.
        groups: usize,
        /// Columns in the header.
        columns: usize,
    },
    /// A cell holds a code that means nothing.
    #[error("cell {0} holds a code that means nothing")]
    Cell(usize),
    /// A limit has a rate out of bounds, or nobody shares it; or there are more than [`MAX_LIMITS`].
    #[error("limit {0} means nothing")]
    Limit(usize),
    /// A page is too long, is not all there, or there are more than [`MAX_PAGES`].
    #[error("page {0} is out of bounds")]
    Page(usize),
    /// A notice is too long, is not all there, or there are more than [`MAX_NOTICES`].
    #[error("notice {0} is out of bounds")]
    Notice(usize),
    /// The list of members is not sorted, or names a group that is not there.
    #[error("member {0} is out of order or out of range")]
    Member(usize),
    /// The reason of a group has a code that means nothing.
    #[error("group {0} is not observed for a reason that means nothing")]
    Unobserved(usize),
    /// The list of services is not sorted, or names a column that is not there.
    #[error("entry {0} of the services with a column of their own is out of order or out of range")]
    OwnColumn(usize),
}

impl VerdictMatrix {
    /// A matrix that says `verdict` of everything, for one group.
    pub fn uniform(epoch: u64, verdict: Verdict) -> Self {
        Self::new(epoch, u64::MAX, 1, &[], |_, _| verdict)
    }

    /// Builds a matrix of `groups` rows. `own_columns` lists services that have a column of their own; `cell` says
    /// the verdict for a group and either a category or such a service. At most [`MAX_GROUPS`] groups and
    /// [`MAX_COLUMNS`] columns are kept, what is beyond them falls back to its category.
    pub fn new(
        epoch: u64,
        valid_until_ns: u64,
        groups: usize,
        own_columns: &[ServiceId],
        mut cell: impl FnMut(GroupId, Column) -> Verdict,
    ) -> Self {
        let groups = groups.clamp(1, MAX_GROUPS);
        let mut services: Vec<ServiceId> = own_columns.to_vec();
        services.sort_unstable();
        services.dedup();
        services.truncate(MAX_COLUMNS - Category::SLOTS);
        let columns = Category::SLOTS + services.len();
        let mut cells = vec![encode_cell(Verdict::FAIL_OPEN); groups * columns];
        let own_columns: Vec<_> =
            services.iter().enumerate().map(|(i, s)| (*s, (Category::SLOTS + i) as u16)).collect();
        each_cell(&mut cells, columns, &own_columns, |group, column| Some(encode_cell(cell(group, column))));
        let unobserved = vec![Unobserved::NotCovered as u8; groups];
        let observe_until_ns = u64::MAX;
        Self {
            epoch,
            valid_until_ns,
            observe_until_ns,
            groups,
            columns,
            blocks: any_blocks(&cells),
            cells,
            limits: Vec::new(),
            windows: [0; 3],
            pages: Vec::new(),
            notices: Vec::new(),
            numbers: Vec::new(),
            unobserved,
            own_columns,
            members: Members::default(),
        }
    }

    /// The same with the groups of addresses. Without it every client belongs to nobody.
    #[must_use]
    pub fn of_members(mut self, members: Members) -> Self {
        self.members = members;
        self
    }

    /// Who a client is, as far as the fast path may know, by its address in sixteen bytes (see [`address_key`]).
    pub fn member_of(&self, address: &[u8; 16]) -> Member {
        self.members.member(address)
    }

    /// The same with limits: `number` says which of `limits` the flows of a cell have whose action is [`Action::Limit`].
    /// What it gives none, or one beyond [`MAX_LIMITS`], passes without limit. It is asked only if there are limits.
    #[must_use]
    pub fn limiting(
        mut self,
        limits: &[RuleLimit],
        mut number: impl FnMut(GroupId, Column) -> Option<LimitId>,
    ) -> Self {
        let limits = limits.get(..MAX_LIMITS).unwrap_or(limits);
        if limits.is_empty() || !self.cells.iter().any(|cell| cell & 15 == Action::Limit as u8) {
            return self;
        }
        self.limits = limits.to_vec();
        self.number(Action::Limit, limits.len(), |group, column| number(group, column).map(|id| id.0));
        self
    }

    /// The same for this hour, day and week: quotas count from zero when their number is another.
    #[must_use]
    pub fn in_windows(mut self, windows: Windows) -> Self {
        self.windows = windows;
        self
    }

    /// Which hour, day and week it is.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// The same with pages: `number` says which of `pages`, each a whole HTTP response of [`MAX_PAGE`] bytes at most, the
    /// clients of a cell are told whose action is [`Action::Block`]. Those that it gives none, or one that does not
    /// fit, are told nothing. It is asked only if something is blocked.
    #[must_use]
    pub fn telling(mut self, pages: &[Box<[u8]>], number: impl FnMut(GroupId, Column) -> Option<u8>) -> Self {
        let pages = pages.get(..MAX_PAGES).unwrap_or(pages);
        let fits = pages.iter().all(|page| page.len() <= MAX_PAGE);
        if pages.is_empty() || !fits || !self.blocks() {
            return self;
        }
        self.pages = pages.to_vec();
        self.number(Action::Block, pages.len(), number);
        self
    }

    /// The same with notices: `number` says which of `notices`, each [`MAX_NOTICE`] bytes at most, the clients of a cell are shown
    /// whose action is [`Action::Notice`]. Those that it gives none, or one that does not fit, are shown nothing.
    #[must_use]
    pub fn noticing(
        mut self,
        notices: &[Box<[u8]>],
        number: impl FnMut(GroupId, Column) -> Option<u8>,
    ) -> Self {
        let notices = notices.get(..MAX_NOTICES).unwrap_or(notices);
        let fits = notices.iter().all(|page| page.len() <= MAX_NOTICE);
        if notices.is_empty() || !fits || !self.cells.iter().any(|cell| cell & 15 == Action::Notice as u8) {
            return self;
        }
        self.notices = notices.iter().cloned().map(Notice::of).collect();
        self.number(Action::Notice, notices.len(), number);
        self
    }

    /// Numbers the cells of an action.
    fn number(
        &mut self,
        action: Action,
        count: usize,
        mut number: impl FnMut(GroupId, Column) -> Option<u8>,
    ) {
        let mut numbers = vec![NO_NUMBER; self.cells.len()];
        each_cell(&mut numbers, self.columns, &self.own_columns, |group, column| {
            number(group, column).filter(|id| usize::from(*id) < count)
        });
        self.numbers.resize(self.cells.len(), NO_NUMBER);
        for ((cell, new), old) in self.cells.iter().zip(numbers).zip(&mut self.numbers) {
            if cell & 15 == action as u8 {
                *old = new;
            }
        }
    }

    /// Whether any cell blocks.
    pub fn blocks(&self) -> bool {
        self.blocks
    }

    /// The same with an end to observation and, for each group, the reason why what is not observed is not.
    #[must_use]
    pub fn observing(mut self, until_ns: u64, mut why: impl FnMut(GroupId) -> Unobserved) -> Self {
        self.observe_until_ns = until_ns;
        for (row, code) in self.unobserved.iter_mut().enumerate() {
            *code = why(GroupId(row as u16)) as u8;
        }
        self
    }

    /// Counts up with every matrix that the slow path compiles.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Monotonic nanoseconds after which this matrix must no longer be used.
    pub fn valid_until_ns(&self) -> u64 {
        self.valid_until_ns
    }

    /// Monotonic nanoseconds after which every level is [`ObservationLevel::None`].
    pub fn observe_until_ns(&self) -> u64 {
        self.observe_until_ns
    }

    /// Why what is not observed of a group is not: for the counters.
    pub fn unobserved(&self, group: GroupId, now_ns: u64) -> Unobserved {
        if now_ns > self.valid_until_ns || now_ns > self.observe_until_ns {
            return Unobserved::Decayed;
        }
        let code = self.unobserved.get(usize::from(group.0));
        code.and_then(|code| Unobserved::from_code(*code)).unwrap_or(Unobserved::NotCovered)
    }

    /// The verdict for a flow. An unknown group or a matrix out of time gives [`Verdict::FAIL_OPEN`].
    pub fn verdict(&self, group: GroupId, category: Category, service: ServiceId, now_ns: u64) -> Verdict {
        if now_ns > self.valid_until_ns || usize::from(group.0) >= self.groups {
            return Verdict::FAIL_OPEN;
        }
        let cell = self.cells.get(self.place(group, category, service));
        let verdict = cell.and_then(|c| decode_cell(*c)).unwrap_or(Verdict::FAIL_OPEN);
        if now_ns > self.observe_until_ns {
            return Verdict { level: ObservationLevel::None, ..verdict };
        }
        verdict
    }

    /// The limit of a flow whose verdict is [`Action::Limit`]. Without one it passes.
    pub fn limit(&self, group: GroupId, category: Category, service: ServiceId) -> Option<LimitId> {
        let number = self.number_of(Action::Limit, group, category, service)?;
        (usize::from(number) < self.limits.len()).then_some(LimitId(number))
    }

    /// What the client of a blocked flow is told over HTTP.
    pub fn page(&self, group: GroupId, category: Category, service: ServiceId) -> Option<&[u8]> {
        let number = self.number_of(Action::Block, group, category, service)?;
        self.pages.get(usize::from(number)).map(AsRef::as_ref)
    }

    /// What the client of a flow is shown whose verdict is [`Action::Notice`].
    pub fn notice(&self, group: GroupId, category: Category, service: ServiceId) -> Option<&Notice> {
        let number = self.number_of(Action::Notice, group, category, service)?;
        self.notices.get(usize::from(number))
    }

    /// The limits, by number.
    pub fn limits(&self) -> &[RuleLimit] {
        &self.limits
    }

    /// The number of a cell, if its action is this one: that of another action is the number of something else.
    fn number_of(
        &self,
        action: Action,
        group: GroupId,
        category: Category,
        service: ServiceId,
    ) -> Option<u8> {
        let at = self.place(group, category, service);
        let fits = usize::from(group.0) < self.groups && self.cells.get(at)? & 15 == action as u8;
        self.numbers.get(at).copied().filter(|_| fits)
    }

    fn place(&self, group: GroupId, category: Category, service: ServiceId) -> usize {
        let column = if self.own_columns.is_empty() {
            category as usize
        } else {
            match self.own_columns.binary_search_by_key(&service, |(s, _)| *s) {
                Ok(i) => self.own_columns.get(i).map_or(category as usize, |(_, c)| usize::from(*c)),
                Err(_) => category as usize,
            }
        };
        usize::from(group.0) * self.columns + column
    }

    /// The matrix as it is handed to the fast path: header, services, members, reasons, cells, limits and their places,
    /// SHA-256 over all of it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let own = self.own_columns.len() * 6;
        let notices = self.notices.iter().map(|notice| &notice.page);
        let told = self.pages.iter().chain(notices);
        let pages = told.clone().map(|page| 2 + page.len()).sum::<usize>();
        let limits = self.limits.len() * LIMIT + self.numbers.len() + pages;
        let mut out = Vec::with_capacity(HEADER + own + self.groups + self.cells.len() + limits + DIGEST);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.valid_until_ns.to_le_bytes());
        out.extend_from_slice(&self.observe_until_ns.to_le_bytes());
        out.extend_from_slice(&(self.groups as u32).to_le_bytes());
        out.extend_from_slice(&(self.columns as u32).to_le_bytes());
        out.extend_from_slice(&(self.own_columns.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.members.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.limits.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.pages.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.notices.len() as u32).to_le_bytes());
        self.windows.iter().for_each(|window| out.extend_from_slice(&window.to_le_bytes()));
        for (service, column) in &self.own_columns {
            out.extend_from_slice(&service.0.to_le_bytes());
            out.extend_from_slice(&column.to_le_bytes());
        }
        self.members.write(&mut out);
        out.extend_from_slice(&self.unobserved);
        out.extend_from_slice(&self.cells);
        for RuleLimit { limit: Limit { pace, per }, key } in &self.limits {
            let (number, every) = match pace {
                Pace::Rate(rate) => (rate.bits_per_second(), 0),
                Pace::Quota(quota) => (quota.amount.bytes(), quota.every as u8),
            };
            out.extend_from_slice(&key.0.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&[every, *per as u8]);
        }
        out.extend_from_slice(&self.numbers);
        for page in told {
            out.extend_from_slice(&(page.len() as u16).to_le_bytes());
            out.extend_from_slice(page);
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, &out);
        out.extend_from_slice(digest.as_ref());
        out
    }

    /// SHA-256 of the encoded matrix, as every lcore acknowledges it.
    pub fn hash(&self) -> MatrixHash {
        let bytes = self.to_bytes();
        bytes.last_chunk().copied().unwrap_or_default()
    }

    /// Reads a matrix from outside and refuses anything that could make a lookup go wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadMatrix> {
        let short = |expected| BadMatrix::Length { expected, found: bytes.len() };
        let (body, digest) = bytes.split_last_chunk::<DIGEST>().ok_or(short(HEADER + DIGEST))?;
        let (header, rest) = body.split_at_checked(HEADER).ok_or(short(HEADER + DIGEST))?;
        if !header.starts_with(&MAGIC) {
            return Err(BadMatrix::Magic);
        }
        let u64_at =
            |at: usize| header.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
        let u32_at =
            |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
        let (groups, columns, own) = (u32_at(32) as usize, u32_at(36) as usize, u32_at(40) as usize);
        let (count, limits, pages) = (u32_at(44) as usize, u32_at(48) as usize, u32_at(52) as usize);
        let notices = u32_at(56) as usize;
        let u16_at =
            |at: usize| header.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes);
        let windows = [60, 62, 64].map(u16_at);
        if groups == 0
            || groups > MAX_GROUPS
            || columns > MAX_COLUMNS
            || count > MAX_MEMBERS
            || columns != Category::SLOTS.saturating_add(own)
        {
            return Err(BadMatrix::Bounds { groups, columns });
        }
        let listed = count * members::ENTRY;
        if limits > MAX_LIMITS {
            return Err(BadMatrix::Limit(limits));
        }
        if pages > MAX_PAGES {
            return Err(BadMatrix::Page(pages));
        }
        if notices > MAX_NOTICES {
            return Err(BadMatrix::Notice(notices));
        }
        let numbered = if limits + pages + notices > 0 { groups * columns } else { 0 };
        let fixed = HEADER + own * 6 + listed + groups + groups * columns + limits * LIMIT + numbered;
        // Pages say themselves how long they are.
        let expected = fixed + (pages + notices) * 2 + DIGEST;
        if !(expected..=expected + pages * MAX_PAGE + notices * MAX_NOTICE).contains(&bytes.len()) {
            return Err(short(expected));
        }
        if ring::digest::digest(&ring::digest::SHA256, body).as_ref() != digest {
            return Err(BadMatrix::Checksum);
        }
        let (services, rest) = rest.split_at_checked(own * 6).ok_or(short(expected))?;
        let (listed, rest) = rest.split_at_checked(listed).ok_or(short(expected))?;
        let members = Members::read(listed, groups).map_err(BadMatrix::Member)?;
        let (unobserved, rest) = rest.split_at_checked(groups).ok_or(short(expected))?;
        let (cells, rest) = rest.split_at_checked(groups * columns).ok_or(short(expected))?;
        let (limits, rest) = rest.split_at_checked(limits * LIMIT).ok_or(short(expected))?;
        let (numbers, mut rest) = rest.split_at_checked(numbered).ok_or(short(expected))?;
        let told = read_pages(&mut rest, pages, MAX_PAGE).map_err(BadMatrix::Page)?;
        let shown = read_pages(&mut rest, notices, MAX_NOTICE).map_err(BadMatrix::Notice)?;
        if !rest.is_empty() {
            return Err(BadMatrix::Page(pages));
        }
        let limits = limits.chunks_exact(LIMIT).enumerate();
        let limits =
            limits.map(|(i, l)| read_limit(l).ok_or(BadMatrix::Limit(i))).collect::<Result<Vec<_>, _>>()?;
        let mut own_columns: Vec<(ServiceId, u16)> = Vec::with_capacity(own);
        for (i, entry) in services.chunks_exact(6).enumerate() {
            let &[a, b, c, d, e, f] = entry else { return Err(BadMatrix::OwnColumn(i)) };
            let (service, column) = (ServiceId(u32::from_le_bytes([a, b, c, d])), u16::from_le_bytes([e, f]));
            if usize::from(column) >= columns || own_columns.last().is_some_and(|(last, _)| *last >= service)
            {
                return Err(BadMatrix::OwnColumn(i));
            }
            own_columns.push((service, column));
        }
        if let Some(bad) = cells.iter().position(|c| decode_cell(*c).is_none()) {
            return Err(BadMatrix::Cell(bad));
        }
        let stray = |(cell, number): (&u8, &u8)| {
            let there = match Action::from_code(cell & 15) {
                Some(Action::Limit) => limits.len(),
                Some(Action::Block) => told.len(),
                Some(Action::Notice) => shown.len(),
                _ => 0,
            };
            *number != NO_NUMBER && usize::from(*number) >= there
        };
        if let Some(bad) = cells.iter().zip(numbers).position(stray) {
            return Err(BadMatrix::Cell(bad));
        }
        if let Some(bad) = unobserved.iter().position(|c| Unobserved::from_code(*c).is_none()) {
            return Err(BadMatrix::Unobserved(bad));
        }
        Ok(Self {
            epoch: u64_at(8),
            valid_until_ns: u64_at(16),
            observe_until_ns: u64_at(24),
            groups,
            columns,
            blocks: any_blocks(cells),
            cells: cells.to_vec(),
            limits,
            windows,
            pages: told,
            notices: shown.into_iter().map(Notice::of).collect(),
            numbers: numbers.to_vec(),
            unobserved: unobserved.to_vec(),
            own_columns,
            members,
        })
    }
}

impl Notice {
    fn of(page: Box<[u8]>) -> Self {
        Self { digest: page_digest(&page), page }
    }
}

/// What a cell is asked for when a matrix is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// All services of a category that have no column of their own.
    Category(Category),
    /// A service that a rule singles out.
    Service(ServiceId),
}

/// Sets every cell that stands for a category or service; where `value` has none, it stays as it is.
fn each_cell(
    cells: &mut [u8],
    columns: usize,
    own_columns: &[(ServiceId, u16)],
    mut value: impl FnMut(GroupId, Column) -> Option<u8>,
) {
    for (row, chunk) in cells.chunks_exact_mut(columns).enumerate() {
        for (slot, out) in chunk.iter_mut().enumerate() {
            let column = match slot.checked_sub(Category::SLOTS) {
                None => Category::from_code(slot as u8).map(Column::Category),
                Some(own) => own_columns.get(own).map(|(service, _)| Column::Service(*service)),
            };
            if let Some(value) = column.and_then(|column| value(GroupId(row as u16), column)) {
                *out = value;
            }
        }
    }
}

/// Pages, each behind its length; `Err` with the one that is too long or not all there.
fn read_pages(rest: &mut &[u8], count: usize, most: usize) -> Result<Vec<Box<[u8]>>, usize> {
    let mut pages = Vec::with_capacity(count);
    for page in 0..count {
        let split = rest.split_first_chunk().and_then(|(len, rest)| {
            let (text, more) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            (text.len() <= most).then_some((text, more))
        });
        let (text, more) = split.ok_or(page)?;
        pages.push(text.into());
        *rest = more;
    }
    Ok(pages)
}

fn any_blocks(cells: &[u8]) -> bool {
    cells.iter().any(|cell| cell & 15 == Action::Block as u8)
}

fn read_limit(bytes: &[u8]) -> Option<RuleLimit> {
    let (key, rest) = bytes.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let &[every, per] = rest else { return None };
    let (number, per) = (u64::from_le_bytes(*number), Per::from_code(per)?);
    let (pace, is_in_bounds) = if every == 0 {
        let rate = Rate::new(number);
        (Pace::Rate(rate), rate.bits_per_second() == number)
    } else {
        let (amount, every) = (Amount::new(number), Every::from_code(every)?);
        (Pace::Quota(Quota { amount, every }), amount.bytes() == number)
    };
    let key = LimitKey(u64::from_le_bytes(*key));
    is_in_bounds.then_some(RuleLimit { limit: Limit { pace, per }, key })
}

fn encode_cell(verdict: Verdict) -> u8 {
    verdict.action as u8 | (verdict.level as u8) << 4
}

fn decode_cell(cell: u8) -> Option<Verdict> {
    Some(Verdict { action: Action::from_code(cell & 15)?, level: ObservationLevel::from_code(cell >> 4)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::SubjectId;

    fn drop_games_and_one_service() -> VerdictMatrix {
        VerdictMatrix::new(3, 1_000, 2, &[ServiceId(9), ServiceId(4)], |group, column| Verdict {
            action: match column {
                Column::Category(Category::Games) | Column::Service(ServiceId(9)) => Action::Block,
                _ => Action::Allow,
            },
            level: if group == GroupId(1) { ObservationLevel::Aggregate } else { ObservationLevel::None },
        })
    }

    #[test]
    fn service_beats_category() {
        let m = drop_games_and_one_service();
        let ask = |g, c, s| m.verdict(GroupId(g), c, ServiceId(s), 0);
        assert_eq!(ask(0, Category::Music, 9).action, Action::Block);
        assert_eq!(ask(0, Category::Games, 4).action, Action::Allow);
        assert_eq!(ask(0, Category::Games, 5).action, Action::Block);
        assert_eq!(ask(1, Category::Music, 0).level, ObservationLevel::Aggregate);
    }

    #[test]
    fn out_of_time_or_range_fails_open() {
        let m = drop_games_and_one_service();
        assert_eq!(m.verdict(GroupId(0), Category::Games, ServiceId::NONE, 1_001), Verdict::FAIL_OPEN);
        assert_eq!(m.verdict(GroupId(2), Category::Games, ServiceId::NONE, 0), Verdict::FAIL_OPEN);
    }

    #[test]
    fn observation_ends_without_anybody_and_actions_go_on() {
        let m = drop_games_and_one_service().observing(500, |group| match group.0 {
            0 => Unobserved::PrivateDevice,
            _ => Unobserved::OffHours,
        });
        let ask = |now| m.verdict(GroupId(1), Category::Games, ServiceId::NONE, now);
        assert_eq!(ask(500), Verdict { action: Action::Block, level: ObservationLevel::Aggregate });
        assert_eq!(ask(501), Verdict { action: Action::Block, level: ObservationLevel::None });
        assert_eq!(ask(1_001), Verdict::FAIL_OPEN);
        let why = [0, 1, 9].map(|group| m.unobserved(GroupId(group), 500));
        assert_eq!(why, [Unobserved::PrivateDevice, Unobserved::OffHours, Unobserved::NotCovered]);
        assert_eq!(m.unobserved(GroupId(1), 501), Unobserved::Decayed);
        assert_eq!(VerdictMatrix::from_bytes(&m.to_bytes()), Ok(m));
    }

    #[test]
    fn members_are_found_by_address_and_nobody_else() {
        let ip = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
        let member = |group, subject| Member { group: GroupId(group), subject: SubjectId(subject) };
        let members = [
            (ip("10.0.0.1"), member(1, 70)),
            (ip("fe80::1"), member(1, u32::MAX)),
            (ip("10.0.0.2"), member(0, 5)),
        ];
        let m = drop_games_and_one_service().of_members(Members::new(members));
        let found = |m: &VerdictMatrix| {
            ["10.0.0.1", "fe80::1", "10.0.0.2", "10.0.0.3", "::ffff:10.0.0.1"]
                .map(|text| m.member_of(&address_key(ip(text))))
        };
        let nobody = Member::default();
        assert_eq!(found(&m), [member(1, 70), member(1, u32::MAX), nobody, nobody, nobody]);
        let blind =
            drop_games_and_one_service().of_members(Members::new(members).without_subjects(|_| false));
        assert_eq!(found(&blind), [member(1, 0), member(1, 0), nobody, nobody, nobody]);
        let bytes = m.to_bytes();
        assert_eq!(VerdictMatrix::from_bytes(&bytes).as_ref(), Ok(&m));
        let of_no_group =
            drop_games_and_one_service().of_members(Members::new([(ip("10.0.0.1"), member(2, 1))]));
        assert_eq!(VerdictMatrix::from_bytes(&of_no_group.to_bytes()), Err(BadMatrix::Member(0)));
    }

    #[test]
    fn limits_stand_where_they_are_said_and_nowhere_else() {
        let limits = [(9_000, Per::Device), (2_000_000, Per::Rule)]
            .map(|(rate, per)| RuleLimit::of("a", Limit { pace: Pace::Rate(Rate::new(rate)), per }));
        let m = VerdictMatrix::new(1, u64::MAX, 2, &[ServiceId(7)], |_, column| Verdict {
            action: if column == Column::Category(Category::News) { Action::Allow } else { Action::Limit },
            level: ObservationLevel::None,
        });
        let m = m.limiting(&limits, |group, column| match column {
            Column::Service(_) => Some(LimitId(1)),
            Column::Category(Category::Games) => Some(LimitId(2)),
            _ => Some(LimitId(group.0 as u8)),
        });
        let ask =
            |group, category, service| m.limit(GroupId(group), category, ServiceId(service)).map(|l| l.0);
        assert_eq!(ask(0, Category::Music, 0), Some(0));
        assert_eq!(ask(1, Category::Music, 0), Some(1));
        assert_eq!(ask(0, Category::Music, 7), Some(1));
        assert_eq!(ask(0, Category::Games, 0), None, "there is no third");
        assert_eq!(ask(0, Category::News, 0), None, "not limited");
        let bytes = m.to_bytes();
        assert_eq!(VerdictMatrix::from_bytes(&bytes).as_ref(), Ok(&m));
        let altered = |at: usize, to: u8| {
            let mut bad = bytes[..bytes.len() - DIGEST].to_vec();
            bad[at] = to;
            let digest = ring::digest::digest(&ring::digest::SHA256, &bad);
            bad.extend_from_slice(digest.as_ref());
            VerdictMatrix::from_bytes(&bad).unwrap_err()
        };
        let plane = bytes.len() - DIGEST - m.numbers.len();
        assert_eq!(altered(plane, 2), BadMatrix::Cell(0), "no such limit");
        assert_eq!(altered(plane + Category::News as usize, 0), BadMatrix::Cell(Category::News as usize));
        assert_eq!(altered(plane - 1, 9), BadMatrix::Limit(1), "nobody shares it");
        assert_eq!(altered(plane - 2, 9), BadMatrix::Limit(1), "for a time that means nothing");
        assert_eq!(altered(plane - 3, 1), BadMatrix::Limit(1), "out of bounds");
    }

    #[test]
    fn pages_stand_beside_limits() {
        let m = VerdictMatrix::new(1, u64::MAX, 2, &[], |_, column| Verdict {
            action: match column {
                Column::Category(Category::Games | Category::Music) => Action::Block,
                Column::Category(Category::News) => Action::Limit,
                _ => Action::Allow,
            },
            level: ObservationLevel::None,
        });
        let limit = RuleLimit::of("a", Limit { pace: Pace::Rate(Rate::MIN), per: Per::Rule });
        let pages: [Box<[u8]>; 2] = [b"one".as_slice().into(), b"two".as_slice().into()];
        let m = m.limiting(&[limit], |_, _| Some(LimitId(0))).telling(&pages, |group, column| {
            (column == Column::Category(Category::Games)).then_some(group.0 as u8)
        });
        let page = |group, category| m.page(GroupId(group), category, ServiceId::NONE);
        assert_eq!(page(0, Category::Games), Some(&b"one"[..]));
        assert_eq!(page(1, Category::Games), Some(&b"two"[..]));
        assert_eq!((page(0, Category::Music), page(2, Category::Games)), (None, None));
        assert_eq!(m.limit(GroupId(0), Category::News, ServiceId::NONE), Some(LimitId(0)));
        assert!(m.blocks() && !VerdictMatrix::uniform(1, Verdict::FAIL_OPEN).blocks());
        let bytes = m.to_bytes();
        assert_eq!(VerdictMatrix::from_bytes(&bytes).as_ref(), Ok(&m));
        for i in 0..bytes.len() {
            assert!(VerdictMatrix::from_bytes(&bytes[..i]).is_err(), "cut at {i}");
        }
        let mut long = bytes[..bytes.len() - DIGEST].to_vec();
        let at = long.len() - 5;
        long[at] = 4;
        let digest = ring::digest::digest(&ring::digest::SHA256, &long);
        long.extend_from_slice(digest.as_ref());
        assert_eq!(VerdictMatrix::from_bytes(&long), Err(BadMatrix::Page(1)), "longer than what is there");
    }

    #[test]
    fn round_trips_and_every_flipped_byte_is_refused() {
        let bytes = drop_games_and_one_service().to_bytes();
        assert_eq!(VerdictMatrix::from_bytes(&bytes).as_ref(), Ok(&drop_games_and_one_service()));
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert!(VerdictMatrix::from_bytes(&bad).is_err(), "byte {i}");
            assert!(VerdictMatrix::from_bytes(&bytes[..i]).is_err(), "cut at {i}");
        }
    }
}
