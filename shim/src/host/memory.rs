//! Memory that a piece of work took goes back to the system when it is done: a shim works for moments and
//! rests for days, and there is one per pod.

use std::fs;
use std::time::Duration;

use tokio::sync::Notify;

/// Memory is given back this long after the first piece of work, so that the next one (Start after Create) is included.
const REST: Duration = Duration::from_secs(1);

/// Stack that is kept below the current frame, in bytes: enough for this module and a signal handler.
const STACK_KEPT: usize = 16 << 10;

static WORKED: Notify = Notify::const_new();

/// One arena for all threads: the shim has one that allocates. Before there is another. By `MALLOC_ARENA_MAX` what the
/// shim starts would have it, too.
pub fn share_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: plain integers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Something was done that took memory.
pub fn worked() {
    WORKED.notify_one();
}

/// Gives memory back after each piece of work, for ever.
pub async fn give_back() {
    loop {
        WORKED.notified().await;
        tokio::time::sleep(REST).await;
        #[cfg(target_env = "gnu")]
        // SAFETY: no pointers; the allocator's own locks guard it.
        unsafe {
            libc::malloc_trim(0);
        }
        give_back_stack();
    }
}

/// The part of this thread's stack that earlier, deeper calls have used.
fn give_back_stack() {
    let here = 0u8;
    let here = &raw const here as usize;
    let Some(start) = fs::read_to_string("/proc/self/maps")
        .ok()
        .and_then(|maps| start_of_mapping(&maps, here))
    else {
        return;
    };
    let end = here.saturating_sub(STACK_KEPT) & !0xfff;
    if let Some(size @ 1..) = end.checked_sub(start) {
        // SAFETY: the range is below the part of this thread's stack that is in use; a later call writes it anew;
        // a signal handler runs before or after.
        unsafe { libc::madvise(start as *mut libc::c_void, size, libc::MADV_DONTNEED) };
    }
}

/// For a thread that ends, whose stack has `size` bytes at least below this frame: the C library keeps it for the next thread as it was
/// left.
pub fn leave_stack(size: usize) {
    /// More than the call below takes.
    const FRAME: usize = 1 << 10;
    let here = 0u8;
    let end = (&raw const here as usize).saturating_sub(FRAME) & !0xfff;
    // SAFETY: that part of this thread's stack is not in use.
    unsafe {
        libc::madvise(
            end.saturating_sub(size) as *mut libc::c_void,
            size,
            libc::MADV_DONTNEED,
        )
    };
}

/// Where the mapping begins that has this address in it.
fn start_of_mapping(maps: &str, address: usize) -> Option<usize> {
    let hexadecimal = |text| usize::from_str_radix(text, 16).ok();
    maps.lines().find_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let (start, end) = (hexadecimal(start)?, hexadecimal(end)?);
        (start..end).contains(&address).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_of_an_address_is_found() {
        let maps = "1000-2000 r--p 0 00:00 0\n7ffe0000-7ffe3000 rw-p 00000000 00:00 0    [stack]\n";
        assert_eq!(start_of_mapping(maps, 0x7ffe_1234), Some(0x7ffe_0000));
        assert_eq!(start_of_mapping(maps, 0x2000), None);
    }

    #[inline(never)]
    fn deep(depth: usize) -> u64 {
        let room = std::hint::black_box([depth as u64; 512]);
        if depth == 0 {
            0
        } else {
            deep(depth - 1) + room[depth % 512]
        }
    }

    /// Kilobytes of this thread's stack.
    fn resident() -> u64 {
        let here = 0u8;
        let here = &raw const here as usize;
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", start_of_mapping(&maps, here).unwrap());
        let rest = &maps[maps.find(&start).unwrap()..];
        let line = rest.lines().find_map(|line| line.strip_prefix("Rss:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    fn is_smaller_and_works(give_back: impl FnOnce()) {
        let sum = deep(100);
        let before = resident();
        give_back();
        let after = resident();
        assert!(after + 200 < before, "{before} kB, {after} kB");
        assert_eq!(deep(100), sum);
    }

    #[test]
    fn a_stack_that_was_deep_is_small_again_and_still_works() {
        is_smaller_and_works(give_back_stack);
    }

    #[test]
    fn a_thread_that_ends_leaves_a_small_stack() {
        is_smaller_and_works(|| leave_stack(1 << 20));
    }
}
