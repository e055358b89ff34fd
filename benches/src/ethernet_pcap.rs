//! Capture files for nDPI, for the benchmark and for the comparison on a corpus, which compiles this file too.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use pcap_file::pcap::{PcapHeader, PcapWriter};
use pcap_file::{DataLink, Endianness, PcapError};

/// An empty capture of Ethernet frames at `path`, in this machine's byte order: the program around nDPI's library reads no
/// other.
pub(crate) fn create(path: &Path) -> io::Result<PcapWriter<BufWriter<File>>> {
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        endianness: Endianness::native(),
        ..PcapHeader::default()
    };
    PcapWriter::with_header(BufWriter::new(File::create(path)?), header).map_err(|why| match why {
        PcapError::IoError(why) => why,
        other => io::Error::other(other),
    })
}
