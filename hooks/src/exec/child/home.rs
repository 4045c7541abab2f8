//! HOME from the container's /etc/passwd, without allocation.
//!
//! The reading and its traps are runc's: the first entry with the uid wins; a uid that is no number
//! counts as 0, so a comment line is an entry of root with no home.

use std::ffi::c_int;

use crate::exec::plan::command::HOME_CAPACITY;
use crate::exec::plan::sys;

/// More than this of the file is not looked at. runc reads all of it.
const LIMIT: usize = 16 << 20;

/// Finds the entry of one uid in passwd(5) text that comes in pieces.
struct Parser<'a> {
    uid: i64,
    home: &'a mut [u8],
    length: usize,
    field: u32,
    number: i64,
    negative: bool,
    number_ok: bool,
    digits: bool,
    /// Any byte of the line that is not white space.
    content: bool,
    too_long: bool,
}

impl<'a> Parser<'a> {
    pub fn new(uid: u32, home: &'a mut [u8]) -> Self {
        let mut parser = Self {
            uid: i64::from(uid),
            home,
            length: 0,
            field: 0,
            number: 0,
            negative: false,
            number_ok: true,
            digits: false,
            content: false,
            too_long: false,
        };
        parser.start_line();
        parser
    }

    fn start_line(&mut self) {
        self.length = 0;
        self.field = 0;
        self.number = 0;
        self.negative = false;
        self.number_ok = true;
        self.digits = false;
        self.content = false;
        self.too_long = false;
    }

    /// True once the entry is found; `home()` is its home.
    pub fn byte(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' => {
                if self.end() {
                    return true;
                }
                self.start_line();
            }
            b':' => {
                self.content = true;
                self.field = self.field.saturating_add(1);
            }
            _ => {
                self.content |= !byte.is_ascii_whitespace();
                match self.field {
                    2 => self.uid_byte(byte),
                    5 => self.home_byte(byte),
                    _ => {}
                }
            }
        }
        false
    }

    /// The end of a line, or of the file: is this line the entry?
    pub fn end(&mut self) -> bool {
        let number = match (self.number_ok && self.digits, self.negative) {
            (false, _) => 0,
            (true, false) => self.number,
            (true, true) => self.number.wrapping_neg(),
        };
        let found = self.content && !self.too_long && number == self.uid;
        if found && self.field == 5 {
            self.trim();
        }
        found
    }

    /// A line ends where its white space begins; the home is its end only where the shell is missing.
    fn trim(&mut self) {
        while let Some(last) = self.length.checked_sub(1)
            && self.home.get(last).is_some_and(u8::is_ascii_whitespace)
        {
            self.length = last;
        }
    }

    pub fn home(&self) -> usize {
        self.length
    }

    fn uid_byte(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' => {
                self.digits = true;
                self.number = self
                    .number
                    .saturating_mul(10)
                    .saturating_add(i64::from(byte & 0xf));
            }
            b'-' | b'+' if !self.digits && !self.negative => self.negative = byte == b'-',
            _ => self.number_ok = false,
        }
    }

    fn home_byte(&mut self, byte: u8) {
        match self.home.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length = self.length.wrapping_add(1);
            }
            None => self.too_long = true,
        }
    }
}

/// Writes `HOME=…\0` for `uid` into `text`; `HOME=/` where there is no entry or no readable regular
/// file. A FIFO or device called /etc/passwd does not hold the process up.
pub(super) fn write(uid: u32, text: &mut [u8; HOME_CAPACITY]) {
    let Some((name, rest)) = text.split_at_mut_checked(5) else {
        return;
    };
    name.copy_from_slice(b"HOME=");
    let last = rest.len().saturating_sub(1);
    let Some((home, _)) = rest.split_at_mut_checked(last) else {
        return;
    };
    let length = find(uid, home);
    let length = match length {
        Some(length) => length,
        None => {
            if let Some(first) = home.first_mut() {
                *first = b'/';
            }
            1
        }
    };
    if let Some(end) = rest.get_mut(length) {
        *end = 0;
    }
}

/// The home of `uid` in `text`, for `fuzz/`.
#[cfg(feature = "fuzzing")]
pub(in crate::exec) fn find_in(text: &[u8], uid: u32, home: &mut [u8]) -> Option<usize> {
    let mut parser = Parser::new(uid, home);
    let found = text.iter().any(|&byte| parser.byte(byte)) || parser.end();
    found.then(|| parser.home())
}

fn find(uid: u32, home: &mut [u8]) -> Option<usize> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let fd = sys::open(libc::AT_FDCWD, c"/etc/passwd", flags).ok()?;
    let found = search(fd, uid, home);
    sys::close(fd);
    found
}

fn search(fd: c_int, uid: u32, home: &mut [u8]) -> Option<usize> {
    if sys::fstat(fd).ok()?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    // A link to /proc/self/environ would put the shim's environment into the container's.
    if sys::file_system(fd).ok()? == libc::PROC_SUPER_MAGIC {
        return None;
    }
    let mut parser = Parser::new(uid, home);
    let mut buffer = [0u8; 4096];
    let mut total = 0usize;
    loop {
        let length = sys::read(fd, &mut buffer).ok()?;
        if length == 0 {
            return parser.end().then(|| parser.home());
        }
        for &byte in buffer.iter().take(length) {
            if parser.byte(byte) {
                return Some(parser.home());
            }
        }
        total = total.saturating_add(length);
        if total > LIMIT {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: &str, uid: u32) -> Option<String> {
        let mut buffer = [0u8; 64];
        let mut parser = Parser::new(uid, &mut buffer);
        let found = text.bytes().any(|byte| parser.byte(byte)) || parser.end();
        let length = parser.home();
        found.then(|| String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    #[test]
    fn the_first_entry_of_the_uid_wins() {
        let text = "root:x:0:0:root:/root:/bin/sh\na:x:7:7::/a:/bin/sh\nb:x:7:7::/b:/bin/sh";
        assert_eq!(home(text, 0).as_deref(), Some("/root"));
        assert_eq!(home(text, 7).as_deref(), Some("/a"));
        assert_eq!(home(text, 8), None);
        assert_eq!(
            home("x:x:9:9:g:/last", 9).as_deref(),
            Some("/last"),
            "no shell, no newline"
        );
    }

    #[test]
    fn malformed_lines_mean_what_they_mean_to_runc() {
        assert_eq!(
            home("# users\nroot:x:0:0:r:/root:/bin/sh\n", 0).as_deref(),
            Some("")
        );
        assert_eq!(home("x:x:abc:0:r:/weird:\n", 0).as_deref(), Some("/weird"));
        assert_eq!(
            home("\n  \nroot:x:0:0:r:/root:/bin/sh\n", 0).as_deref(),
            Some("/root")
        );
        assert_eq!(home("r:x:-0:0:r:/neg:\n", 0).as_deref(), Some("/neg"));
        assert_eq!(home("", 0), None);
    }

    #[test]
    fn a_home_that_does_not_fit_is_no_home() {
        let text = format!("r:x:0:0:r:{}:\n", "h".repeat(100));
        assert_eq!(home(&text, 0), None);
    }
}
