//! Messages between the guard and the other processes: small JSON, and descriptors beside it.
//!
//! The guard makes a pair of sockets for each process it starts and gives one end to the child as its standard
//! input, so that nothing has to be found by number or name. `SOCK_SEQPACKET` keeps messages apart; the kernel passes
//! descriptors (`SCM_RIGHTS`). A message is at most [`MAX_MESSAGE`] bytes with at most [`MAX_FDS`] descriptors; whatever
//! is larger, cut or not understood is an error of the sender.
//!
//! Sending never waits: the guard must not hang because a child does.

use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The largest message, bytes.
pub(crate) const MAX_MESSAGE: usize = 64 << 10;
/// The most descriptors of one message.
pub(crate) const MAX_FDS: usize = 4;

/// One end of a pair.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
}

/// What a message was: itself and its descriptors.
#[derive(Debug)]
pub(crate) struct Received<M> {
    pub(crate) message: M,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Channel {
    /// A pair: our end, and the end that becomes a child's standard input.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self { socket: ours }, theirs))
    }

    /// The child's end. Refuses a standard input that is something else: somebody started this by hand.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        match sockopt::socket_type(&socket) {
            Ok(SocketType::SEQPACKET) => Ok(Self { socket }),
            _ => Err(io::Error::other(
                "standard input is not the guard's socket: this process is started by `glassgate run`, not by hand",
            )),
        }
    }

    /// The other end, in a test that plays both.
    #[cfg(test)]
    pub(crate) fn from_socket(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Another handle of the same end: to receive on one thread and send on another.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()? })
    }

    /// Sends a message, or fails at once: `WouldBlock` when the other side does not read, `BrokenPipe` when it is gone.
    pub(crate) fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
            return Err(io::Error::other(format!(
                "a message of {} bytes, {} descriptors",
                bytes.len(),
                fds.len()
            )));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("no space for the descriptors"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Waits for a message. `None`: the other side is gone.
    pub(crate) fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<Received<M>>> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let into = &mut [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => break got,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 && fds.is_empty() {
            return Ok(None);
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("a message that is too large, or has too many descriptors"));
        }
        bytes.truncate(got.bytes);
        Ok(Some(Received { message: serde_json::from_slice(&bytes)?, fds }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn messages_and_descriptors_arrive() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel { socket: theirs };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        ours.send(&("first", 1), &[file.as_fd()]).unwrap();
        ours.send(&("second", 2), &[]).unwrap();
        let first: Received<(String, u32)> = theirs.receive().unwrap().unwrap();
        assert_eq!(first.message, ("first".into(), 1));
        let mut same = std::fs::File::from(first.fds.into_iter().next().unwrap());
        same.rewind().unwrap();
        let mut text = String::new();
        same.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        let second: Received<(String, u32)> = theirs.receive().unwrap().unwrap();
        assert!(second.fds.is_empty());
        drop(ours);
        assert!(theirs.receive::<u32>().unwrap().is_none(), "gone");
        assert!(theirs.send(&1, &[]).is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn sending_never_waits() {
        let (ours, _theirs) = Channel::pair().unwrap();
        let full = (0..10_000).find_map(|_| ours.send(&"x".repeat(1000), &[]).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_no_message() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel { socket: theirs };
        assert!(ours.send(&"x".repeat(MAX_MESSAGE), &[]).is_err());
        ours.send(&"text", &[]).unwrap();
        assert!(theirs.receive::<u32>().is_err(), "another type");
        let plain = IoSlice::new(&[b'1'; MAX_MESSAGE + 1]);
        sendmsg(&ours.socket, &[plain], &mut SendAncillaryBuffer::new(&mut []), SendFlags::empty()).unwrap();
        assert!(theirs.receive::<u64>().is_err_and(|e| e.to_string().contains("too large")));
    }
}
