//! The far ends that the keeper holds, by descriptor and by socket.

use crate::stack::SockId;
use crate::sys::Fd;

/// A far end.
#[derive(Debug)]
pub struct Far {
    /// Whose.
    pub id: SockId,
    /// The end itself.
    pub fd: Fd,
}

/// All far ends.
#[derive(Debug, Default)]
pub struct Fars {
    /// At its descriptor's number.
    by_fd: Vec<Option<Far>>,
    /// At its socket's index: the descriptor's number, -1 for none.
    by_socket: Vec<i32>,
    count: usize,
}

impl Fars {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Take `fd` in; gives the one that it replaces, if the socket's place had one.
    pub fn add(&mut self, id: SockId, fd: Fd) -> Option<Far> {
        let old = self.fd_at(id.index).and_then(|old| self.remove(old));
        let (place, index) = (fd.raw() as usize, id.index as usize);
        if self.by_fd.len() <= place {
            self.by_fd.resize_with(place + 1, || None);
        }
        if self.by_socket.len() <= index {
            self.by_socket.resize(index + 1, -1);
        }
        self.by_socket[index] = fd.raw();
        self.by_fd[place] = Some(Far { id, fd });
        self.count += 1;
        old
    }

    /// The far end with this descriptor.
    pub fn at(&self, fd: i32) -> Option<&Far> {
        self.by_fd.get(usize::try_from(fd).ok()?)?.as_ref()
    }

    /// The far end of this socket.
    pub fn of(&mut self, id: SockId) -> Option<&mut Far> {
        let fd = self.fd_at(id.index)?;
        let far = self.by_fd.get_mut(usize::try_from(fd).ok()?)?.as_mut();
        far.filter(|far| far.id == id)
    }

    /// Whose they are.
    pub fn ids(&self) -> impl Iterator<Item = SockId> + '_ {
        self.by_fd.iter().flatten().map(|far| far.id)
    }

    /// Whether there is a far end of this socket.
    pub fn has(&self, id: SockId) -> bool {
        let fd = self.fd_at(id.index);
        fd.and_then(|fd| self.at(fd))
            .is_some_and(|far| far.id == id)
    }

    /// Give the far end with this descriptor away.
    pub fn remove(&mut self, fd: i32) -> Option<Far> {
        let far = self.by_fd.get_mut(usize::try_from(fd).ok()?)?.take()?;
        if let Some(place) = self.by_socket.get_mut(far.id.index as usize)
            && *place == fd
        {
            *place = -1;
        }
        self.count -= 1;
        Some(far)
    }

    fn fd_at(&self, index: u32) -> Option<i32> {
        self.by_socket
            .get(index as usize)
            .copied()
            .filter(|fd| *fd >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io;

    #[test]
    fn found_both_ways() {
        let id = |index, generation| SockId { index, generation };
        let fd = || io::timer().unwrap();
        let mut fars = Fars::default();
        assert!(fars.at(-1).is_none() && fars.at(70000).is_none());
        let (a, b, c) = (fd(), fd(), fd());
        let (a_raw, b_raw, c_raw) = (a.raw(), b.raw(), c.raw());
        assert!(fars.add(id(5, 1), a).is_none());
        assert!(fars.add(id(9, 2), b).is_none());
        assert!(fars.has(id(5, 1)));
        assert!(!fars.has(id(5, 2)));
        assert_eq!(fars.at(b_raw).unwrap().id, id(9, 2));
        // A new socket at the same place, before the old one's end was noticed.
        let old = fars.add(id(5, 3), c).unwrap();
        assert_eq!((old.id, old.fd.raw()), (id(5, 1), a_raw));
        assert!(!fars.has(id(5, 1)) && fars.has(id(5, 3)));
        assert_eq!(fars.len(), 2);
        assert_eq!(fars.remove(c_raw).unwrap().id, id(5, 3));
        assert!(fars.of(id(5, 3)).is_none());
        assert!(fars.remove(c_raw).is_none());
        assert_eq!(fars.len(), 1);
    }
}
