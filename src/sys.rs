//! The floor under std: what a server needs from Linux and glibc that std
//! does not offer. It is the one file with `unsafe`.
//!
//! Eight sections: the counting allocator behind `used_memory`, signals, fatal
//! signals and what threads note for them, watching threads, sockets, the
//! process and its limits, its title, and the tests.
//! Declarations follow the C ABI of 64-bit Linux with glibc 2.33 or later
//! (x86-64 and aarch64 share every constant and layout used here); std links
//! libc already, so no crate is needed. Nothing here knows about Redis beyond
//! the few places that say so.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};
use std::fs::{self, File};
use std::io::{self, IoSlice, IsTerminal};
use std::marker::PhantomData;
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
compile_error!("the declarations in sys.rs hold for 64-bit Linux with glibc only");

/// The C declarations. Those without pointers, and without a precondition of
/// any other kind, are marked `safe`.
mod c {
    use super::*;

    #[repr(C)]
    pub struct MallInfo2 {
        pub arena: usize,
        pub ordblks: usize,
        pub smblks: usize,
        pub hblks: usize,
        pub hblkhd: usize,
        pub usmblks: usize,
        pub fsmblks: usize,
        pub uordblks: usize,
        pub fordblks: usize,
        pub keepcost: usize,
    }

    #[repr(C)]
    pub struct SigSet([c_ulong; 16]);

    impl SigSet {
        pub const EMPTY: SigSet = SigSet([0; 16]);
    }

    #[repr(C)]
    pub struct SigAction {
        pub handler: usize,
        pub mask: SigSet,
        pub flags: c_int,
        pub restorer: usize,
    }

    /// The first part of `siginfo_t`; the union begins at a multiple of 8.
    #[repr(C)]
    pub struct SigInfo {
        pub signal: c_int,
        pub errno: c_int,
        pub code: c_int,
        pub gap: c_int,
        /// The address of a fault; process and user of whoever sent the signal.
        pub origin: u64,
    }

    #[repr(C)]
    pub struct MsgHdr {
        pub name: *mut c_void,
        pub namelen: c_uint,
        pub iov: *const c_void,
        pub iovlen: usize,
        pub control: *mut c_void,
        pub controllen: usize,
        pub flags: c_int,
    }

    #[derive(Clone, Copy)]
    #[repr(C)]
    pub struct PollFd {
        pub fd: c_int,
        pub events: c_short,
        pub revents: c_short,
    }

    /// The kernel's layout leaves no gap on x86-64.
    #[derive(Clone, Copy)]
    #[cfg_attr(target_arch = "x86_64", repr(C, packed))]
    #[cfg_attr(not(target_arch = "x86_64"), repr(C))]
    pub struct EpollEvent {
        pub events: c_uint,
        pub data: u64,
    }

    #[repr(C)]
    pub struct SockAddrIn {
        pub family: u16,
        pub port_be: u16,
        pub addr: [u8; 4],
        pub zero: [u8; 8],
    }

    #[repr(C)]
    pub struct SockAddrIn6 {
        pub family: u16,
        pub port_be: u16,
        pub flowinfo: u32,
        pub addr: [u8; 16],
        pub scope_id: u32,
    }

    #[repr(C)]
    pub struct RLimit {
        pub soft: u64,
        pub hard: u64,
    }

    #[repr(C)]
    pub struct TimeVal {
        pub sec: i64,
        pub usec: i64,
    }

    #[repr(C)]
    pub struct RUsage {
        pub user: TimeVal,
        pub system: TimeVal,
        pub rest: [c_long; 14],
    }

    #[repr(C)]
    pub struct UtsName(pub [[c_char; 65]; 6]);

    #[repr(C)]
    pub struct Tm {
        pub fields: [c_int; 9],
        pub gmtoff: c_long,
        pub zone: *const c_char,
    }

    unsafe extern "C" {
        pub fn malloc_usable_size(ptr: *mut c_void) -> usize;
        pub safe fn malloc_trim(pad: usize) -> c_int;
        pub safe fn mallopt(param: c_int, value: c_int) -> c_int;
        pub safe fn mallinfo2() -> MallInfo2;

        pub fn sigaddset(set: *mut SigSet, signal: c_int) -> c_int;
        pub fn pthread_sigmask(how: c_int, set: *const SigSet, old: *mut SigSet) -> c_int;
        pub fn sigwait(set: *const SigSet, signal: *mut c_int) -> c_int;
        pub fn signal(signal: c_int, handler: usize) -> usize;
        pub fn sigaction(signal: c_int, new: *const SigAction, old: *mut SigAction) -> c_int;
        pub safe fn raise(signal: c_int) -> c_int;
        pub fn open(path: *const c_char, flags: c_int, ...) -> c_int;
        pub fn write(fd: c_int, bytes: *const c_void, len: usize) -> isize;
        pub fn backtrace(frames: *mut *mut c_void, most: c_int) -> c_int;
        pub fn backtrace_symbols_fd(frames: *const *mut c_void, count: c_int, fd: c_int);
        pub fn backtrace_symbols(frames: *const *mut c_void, count: c_int) -> *mut *mut c_char;
        pub fn free(block: *mut c_void);
        pub fn __errno_location() -> *mut c_int;
        pub safe fn tgkill(process: c_int, thread: c_int, signal: c_int) -> c_int;
        pub safe fn _exit(code: c_int) -> !;

        pub safe fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
        pub fn bind(fd: c_int, addr: *const c_void, len: c_uint) -> c_int;
        pub fn connect(fd: c_int, addr: *const c_void, len: c_uint) -> c_int;
        pub safe fn listen(fd: c_int, backlog: c_int) -> c_int;
        pub fn getsockopt(
            fd: c_int,
            level: c_int,
            name: c_int,
            value: *mut c_void,
            len: *mut c_uint,
        ) -> c_int;
        pub fn setsockopt(
            fd: c_int,
            level: c_int,
            name: c_int,
            value: *const c_void,
            len: c_uint,
        ) -> c_int;
        pub fn recv(fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> isize;
        pub fn send(fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> isize;
        pub fn sendmsg(fd: c_int, msg: *const MsgHdr, flags: c_int) -> isize;
        pub safe fn shutdown(fd: c_int, how: c_int) -> c_int;
        pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
        pub fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
        pub safe fn epoll_create1(flags: c_int) -> c_int;
        pub fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut EpollEvent) -> c_int;
        pub fn epoll_wait(
            epoll: c_int,
            events: *mut EpollEvent,
            most: c_int,
            timeout_ms: c_int,
        ) -> c_int;

        pub fn getrlimit(resource: c_int, limit: *mut RLimit) -> c_int;
        pub fn setrlimit(resource: c_int, limit: *const RLimit) -> c_int;
        pub fn getrusage(who: c_int, usage: *mut RUsage) -> c_int;
        pub safe fn sysconf(name: c_int) -> c_long;
        pub fn uname(name: *mut UtsName) -> c_int;
        pub fn fork() -> c_int;
        pub safe fn setsid() -> c_int;
        pub fn dup2(old: c_int, new: c_int) -> c_int;
        pub fn localtime_r(time: *const i64, tm: *mut Tm) -> *mut Tm;
        pub safe fn gettid() -> c_int;
        pub fn prctl(option: c_int, ...) -> c_int;
        pub static mut environ: *mut *mut c_char;
    }
}

/// Turns the -1 of a C call into the error in `errno`.
fn check(ret: c_int) -> io::Result<c_int> {
    if ret == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

// ---------------------------------------------------------------------------
// Memory
// ---------------------------------------------------------------------------

/// Threads share counters when there are more of them than stripes; a power of
/// two well above the number of cores that allocate at one instant.
const STRIPES: usize = 16;

/// What glibc keeps in front of each block: the size word of the chunk.
const CHUNK_HEADER: usize = 8;

/// Two cache lines wide, because x86-64 prefetches lines in pairs.
#[repr(align(128))]
struct Stripe {
    /// Live bytes. One stripe may be negative (a block is freed by another
    /// thread than the one which asked for it); only the sum means anything.
    live: AtomicI64,
    /// See [`mark_memory`]. Beside the counter, so that to compare the two
    /// costs whoever counts here no further cache line.
    mark: AtomicI64,
}

/// The mark of a stripe that may grow without limit.
const NO_MARK: i64 = i64::MAX;
/// The mark that every stripe has reached.
const LOW_MARK: i64 = i64::MIN;

/// Less room than this is not divided among the stripes: all have reached
/// their marks.
const LITTLE_ROOM: usize = 16 << 10;

static LIVE: [Stripe; STRIPES] = [const {
    Stripe {
        live: AtomicI64::new(0),
        mark: AtomicI64::new(NO_MARK),
    }
}; STRIPES];

/// Deals out stripes to new threads in turn; wrapping is harmless.
static NEXT_STRIPE: AtomicU8 = AtomicU8::new(0);

const NO_STRIPE: u8 = u8::MAX;

thread_local! {
    /// Initialised by a constant and without a destructor, so that reaching it
    /// neither allocates nor fails while the thread is being torn down.
    static STRIPE: Cell<u8> = const { Cell::new(NO_STRIPE) };
}

/// The stripe of this thread.
#[inline]
fn stripe() -> &'static Stripe {
    let stripe = STRIPE.try_with(|cell| match cell.get() {
        NO_STRIPE => {
            let stripe = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES as u8;
            cell.set(stripe);
            stripe
        }
        stripe => stripe,
    });
    &LIVE[stripe.unwrap_or(0) as usize % STRIPES]
}

#[inline]
fn count(bytes: i64) {
    stripe().live.fetch_add(bytes, Ordering::Relaxed);
}

/// The bytes that glibc spends on the block at `block`, header included.
///
/// # Safety
/// `block` must be a live block of glibc's malloc.
#[inline]
unsafe fn footprint(block: *mut u8) -> i64 {
    // SAFETY: the caller hands in a live malloc block, all that the call asks.
    let usable = unsafe { c::malloc_usable_size(block.cast()) };
    (usable + CHUNK_HEADER) as i64
}

/// The system allocator, counting what it hands out: see [`used_memory`].
///
/// Made the allocator of a program by `#[global_allocator]`. A block is counted
/// at its real cost in glibc (rounded size and header), not at the size asked
/// for; each call costs one relaxed addition to a counter that few threads
/// share.
pub struct CountingAllocator;

// SAFETY: every block comes from and goes back to `System`, with the caller's
// own layout; in between only counters change, and they neither allocate nor
// unwind. On this platform `System` is glibc's malloc (malloc, calloc,
// posix_memalign, realloc, free), so its blocks may be asked for their size.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            // SAFETY: System has just returned it.
            count(unsafe { footprint(block) });
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            // SAFETY: System has just returned it.
            count(unsafe { footprint(block) });
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a live block of this allocator, which
        // is one of System's; it is measured before it is freed.
        unsafe {
            count(-footprint(block));
            System.dealloc(block, layout);
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as in dealloc: `block` is live until System takes it over.
        let (before, moved) = unsafe {
            let before = footprint(block);
            (before, System.realloc(block, layout, new_size))
        };
        // A null pointer says that the old block stays as it was.
        if !moved.is_null() {
            // SAFETY: System has just returned it.
            count(unsafe { footprint(moved) } - before);
        }
        moved
    }
}

/// The bytes in live blocks, as glibc accounts for them: rounding and headers
/// are in, free memory that the allocator keeps is not. Thread stacks and
/// mapped files are no part of it. Always 0 unless [`CountingAllocator`] is
/// the global allocator.
///
/// Sums 16 counters without a lock; while other threads allocate the result is
/// as blurred as the instant it is taken at.
pub fn used_memory() -> usize {
    let live = |stripe: &Stripe| stripe.live.load(Ordering::Relaxed);
    LIVE.iter().map(live).sum::<i64>().max(0) as usize
}

/// Has every thread look after the memory in use before it is above `limit`;
/// without one nobody has to. Returns how much is in use.
///
/// What there is room for is divided among the counters, each of which gets a
/// mark: while all are below their marks, the sum is below the limit, and a
/// thread that finds its own below need not ask for the sum.
pub fn mark_memory(limit: Option<usize>) -> usize {
    let live: [i64; STRIPES] = std::array::from_fn(|at| LIVE[at].live.load(Ordering::Relaxed));
    let used = live.iter().sum::<i64>().max(0) as usize;
    let share = limit.map(|limit| match limit.saturating_sub(used) {
        room if room < LITTLE_ROOM => None,
        room => i64::try_from(room / STRIPES).ok(),
    });
    for (stripe, live) in LIVE.iter().zip(live) {
        let mark = match share {
            None => NO_MARK,
            Some(None) => LOW_MARK,
            Some(Some(share)) => live.saturating_add(share),
        };
        // A write would take the line away from whoever counts there.
        if stripe.mark.load(Ordering::Relaxed) != mark {
            stripe.mark.store(mark, Ordering::Relaxed);
        }
    }
    used
}

/// Whether this thread has to look after the memory in use, as
/// [`mark_memory`] has asked. Two relaxed loads from a line that it counts in
/// anyway.
#[inline]
pub fn at_memory_mark() -> bool {
    let stripe = stripe();
    stripe.live.load(Ordering::Relaxed) >= stripe.mark.load(Ordering::Relaxed)
}

/// The same where not everybody has to look already.
#[inline]
pub fn passed_memory_mark() -> bool {
    let stripe = stripe();
    let mark = stripe.mark.load(Ordering::Relaxed);
    mark != LOW_MARK && stripe.live.load(Ordering::Relaxed) >= mark
}

/// Bytes of the block in which glibc puts so many: it adds 8 and rounds up to 16, to 32 at least.
/// Nothing takes nothing.
pub const fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=24 => 32,
        _ => (bytes + 8).next_multiple_of(16),
    }
}

/// Gives the free memory of the allocator back to the system (`MEMORY PURGE`).
/// True if anything was given back.
pub fn trim() -> bool {
    c::malloc_trim(0) == 1
}

/// What glibc reports on its heaps, in bytes; see mallinfo2(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocStats {
    /// Taken from the system for the arenas, in use or free.
    pub arena: usize,
    /// In blocks large enough to have a mapping of their own.
    pub mmapped: usize,
    /// In live blocks of the arenas (with those cached by threads).
    pub in_use: usize,
    /// In free blocks of the arenas.
    pub free: usize,
    /// The part of `free` that lies at the end of the main heap, where it can
    /// be given back to the system.
    pub releasable: usize,
}

/// Asks glibc about its heaps. Walks the free lists of every arena under its
/// lock: fit for `MEMORY STATS`, not for every command.
pub fn allocator_stats() -> AllocStats {
    let info = c::mallinfo2();
    AllocStats {
        arena: info.arena,
        mmapped: info.hblkhd,
        in_use: info.uordblks,
        free: info.fordblks,
        releasable: info.keepcost,
    }
}

/// Sets glibc's malloc up for a server with many threads. Call it first thing
/// in `main`.
///
/// - `arenas`: the most arenas that threads are spread over. glibc's default
///   of 8 per core scatters the free memory of thousands of threads.
/// - `mmap_threshold`: blocks of this many bytes get a mapping of their own;
///   glibc before 2.35 refuses more than 32 MiB. Fixing it stops glibc from
///   raising it by itself whenever a large block is freed.
/// - `trim_threshold`: free bytes at the end of the heap that are kept rather
///   than given back.
///
/// True if glibc took all three.
pub fn tune_allocator(arenas: usize, mmap_threshold: usize, trim_threshold: usize) -> bool {
    const M_TRIM_THRESHOLD: c_int = -1;
    const M_MMAP_THRESHOLD: c_int = -3;
    const M_ARENA_MAX: c_int = -8;
    let set = |param, value: usize| c::mallopt(param, clamp_to_int(value as u64)) == 1;
    let arenas = set(M_ARENA_MAX, arenas.max(1));
    let mmap = set(M_MMAP_THRESHOLD, mmap_threshold);
    let trim = set(M_TRIM_THRESHOLD, trim_threshold);
    arenas && mmap && trim
}

fn clamp_to_int(value: u64) -> c_int {
    c_int::try_from(value).unwrap_or(c_int::MAX)
}

// ---------------------------------------------------------------------------
// Signals
// ---------------------------------------------------------------------------

const SIGHUP: c_int = 1;
const SIGINT: c_int = 2;
const SIGPIPE: c_int = 13;
const SIGTERM: c_int = 15;

/// A request to stop, from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT, mostly Ctrl-C.
    Interrupt,
}

impl Signal {
    /// The name as Redis logs it.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
        }
    }
}

fn stop_signals() -> c::SigSet {
    let mut set = c::SigSet::EMPTY;
    for signal in [SIGTERM, SIGINT] {
        // SAFETY: `set` is a valid, zeroed (which is to say empty) signal set.
        // The call fails only for numbers that are no signal.
        unsafe { c::sigaddset(&mut set, signal) };
    }
    set
}

/// Blocks SIGTERM and SIGINT, to be taken by [`wait_for_signal`], and ignores
/// SIGHUP and SIGPIPE as Redis does. No handler ever runs for any of them.
///
/// Call it in `main` before any thread is started: a thread inherits the mask
/// of its creator, and one thread that leaves a stop signal open is enough for
/// the signal to end the process there and then.
pub fn install_signals() -> io::Result<()> {
    const SIG_DFL: usize = 0;
    const SIG_IGN: usize = 1;
    const SIG_ERR: usize = usize::MAX;
    const SIG_BLOCK: c_int = 0;
    // A shell starts background jobs with SIGINT ignored, so the stop signals
    // are put back to a disposition that does not drop them.
    for (signal, disposition) in [
        (SIGPIPE, SIG_IGN),
        (SIGHUP, SIG_IGN),
        (SIGTERM, SIG_DFL),
        (SIGINT, SIG_DFL),
    ] {
        // SAFETY: neither disposition is the address of a handler, so no code
        // of ours can come to run in a signal's context.
        if unsafe { c::signal(signal, disposition) } == SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    let set = stop_signals();
    // SAFETY: `set` is initialised and outlives the call; the old mask is not
    // asked for.
    match unsafe { c::pthread_sigmask(SIG_BLOCK, &set, ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Sleeps until SIGTERM or SIGINT arrives, and returns it. For one dedicated
/// thread that calls it in a loop, so that a second signal can be answered by
/// stopping at once. [`install_signals`] comes first.
pub fn wait_for_signal() -> Signal {
    let set = stop_signals();
    loop {
        let mut signal = 0;
        // SAFETY: both point to initialised locals which outlive the call.
        // Its one documented failure is a set with invalid signals.
        unsafe { c::sigwait(&set, &mut signal) };
        match signal {
            SIGTERM => return Signal::Terminate,
            SIGINT => return Signal::Interrupt,
            _ => {}
        }
    }
}

/// Ends the process at once: no destructor, no flush, no wait for a thread.
pub fn exit_now(code: i32) -> ! {
    c::_exit(code)
}

// ---------------------------------------------------------------------------
// Fatal signals
// ---------------------------------------------------------------------------

const SIGILL: c_int = 4;
const SIGABRT: c_int = 6;
const SIGBUS: c_int = 7;
const SIGFPE: c_int = 8;
const SIGSEGV: c_int = 11;
const FATAL: [c_int; 5] = [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT];

/// Frames of a stack that are shown.
const FRAMES: usize = 64;

/// What a thread is carrying out. Only the thread itself notes what that is,
/// but others look at it.
struct Doing {
    /// The client that it last served.
    client: AtomicU64,
    /// The name of the command: an address that never ends to be valid, or
    /// null, with the bits [`DONE`] and [`SEEN`] in it.
    command: AtomicPtr<String>,
    /// The command of a transaction that it is at, if it is at one.
    part: AtomicPtr<String>,
}

/// The command is over.
const DONE: usize = 1;
/// Somebody has looked since it began: as long as this is set, it is the same.
const SEEN: usize = 2;

thread_local! {
    /// What this thread is carrying out. As [`STRIPE`], to be reached without
    /// any further ado.
    static DOING: Doing = const {
        Doing {
            client: AtomicU64::new(0),
            command: AtomicPtr::new(ptr::null_mut()),
            part: AtomicPtr::new(ptr::null_mut()),
        }
    };
}

/// The file that a report goes to; null for standard output. Once set, a path
/// stays where it is for good.
static CRASH_LOG: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

/// The thread that writes a report; 0 while none does.
static REPORTING: AtomicI32 = AtomicI32::new(0);

/// What was in force before [`report_crashes`], by the places in [`FATAL`].
static BEFORE: Mutex<Option<[c::SigAction; FATAL.len()]>> = Mutex::new(None);

fn address(command: &'static String) -> *mut String {
    ptr::from_ref(command).cast_mut()
}

/// The name that an address in a [`Doing`] stands for.
fn name_at(address: *mut String) -> &'static str {
    let address = address.map_addr(|bits| bits & !(DONE | SEEN));
    // SAFETY: what is not null was a reference for ever, and nobody writes there.
    unsafe { address.as_ref() }.map_or("", String::as_str)
}

/// Notes what the thread is about to do, for the report of a crash and for who
/// watches. Two stores, and a third when it is over ([`note_done`]).
#[inline(always)]
pub fn note_doing(client: u64, command: &'static String) {
    // It never fails; `with`, which says so, would be a call.
    let _ = DOING.try_with(|doing| {
        doing.client.store(client, Ordering::Relaxed);
        doing.command.store(address(command), Ordering::Relaxed);
    });
}

/// Notes that this command is over.
#[inline(always)]
pub fn note_done(command: &'static String) {
    let done = address(command).map_addr(|bits| bits | DONE);
    let _ = DOING.try_with(|doing| doing.command.store(done, Ordering::Relaxed));
}

/// Notes which command of a transaction the thread is at.
#[inline]
pub fn note_part(command: Option<&'static String>) {
    let command = command.map_or(ptr::null_mut(), address);
    let _ = DOING.try_with(|doing| doing.part.store(command, Ordering::Relaxed));
}

/// The file that a report of a crash is appended to; standard output for none.
pub fn set_crash_log(path: Option<&Path>) {
    let path = path.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
    // Never freed: a handler may be reading it.
    let path = path.map_or(ptr::null_mut(), CString::into_raw);
    CRASH_LOG.store(path, Ordering::Release);
}

/// Has a signal that ends the process because of a fault, or of an abort, leave
/// a report in the log first; or no longer. The process ends in any case, by
/// that same signal.
pub fn report_crashes(on: bool) {
    const SA_SIGINFO: c_int = 4;
    const SA_ONSTACK: c_int = 0x0800_0000;
    const SA_NODEFER: c_int = 0x4000_0000;
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if on == before.is_some() {
        return;
    }
    if let Some(old) = before.take() {
        for (signal, old) in FATAL.into_iter().zip(&old) {
            // SAFETY: `old` is what the same call has once given.
            unsafe { c::sigaction(signal, old, ptr::null_mut()) };
        }
        return;
    }
    // What it loads at its first use must not be loaded in a handler.
    let mut frame = [ptr::null_mut(); 1];
    // SAFETY: the array has room for the one frame asked for.
    unsafe { c::backtrace(frame.as_mut_ptr(), 1) };
    let handler: extern "C" fn(c_int, *const c::SigInfo, *mut c_void) = report_crash;
    *before = Some(FATAL.map(|signal| {
        let new = c::SigAction {
            handler: handler as usize,
            mask: c::SigSet::EMPTY,
            // A stack that has overflown is reported on the one that std keeps
            // for that.
            flags: SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
            restorer: 0,
        };
        let mut old = c::SigAction {
            handler: 0,
            mask: c::SigSet::EMPTY,
            flags: 0,
            restorer: 0,
        };
        // SAFETY: both are initialised and outlive the call; the handler has
        // the signature that SA_SIGINFO asks for, and calls nothing that is not
        // safe in a signal's context.
        unsafe { c::sigaction(signal, &new, &mut old) };
        old
    }));
}

/// Text put together, and a stack, without memory to be had: that of the stack
/// on which a handler runs is little.
struct Report {
    bytes: [u8; 512],
    len: usize,
    fd: c_int,
    frames: [*mut c_void; FRAMES],
}

/// The one report there can be.
struct TheReport(UnsafeCell<Report>);

// SAFETY: only the thread that has put its number into `REPORTING` touches what
// is inside, and it stays there.
unsafe impl Sync for TheReport {}

static REPORT: TheReport = TheReport(UnsafeCell::new(Report {
    bytes: [0; 512],
    len: 0,
    fd: 1,
    frames: [ptr::null_mut(); FRAMES],
}));

impl Report {
    /// Begins a line as Redis' log does for what a handler writes.
    fn begin(&mut self) -> &mut Report {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.number(std::process::id().into(), 10)
            .text(":signal-handler (")
            .number(now.map_or(0, |now| now.as_secs()), 10)
            .text(") ")
    }

    /// Adds text, as far as it fits.
    fn text(&mut self, text: &str) -> &mut Report {
        for byte in text.bytes() {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        self
    }

    fn number(&mut self, mut number: u64, base: u64) -> &mut Report {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdef"[(number % base) as usize];
            number /= base;
            if number == 0 || at == 0 {
                break;
            }
        }
        self.text(std::str::from_utf8(&digits[at..]).unwrap_or_default())
    }

    /// Writes what has been added.
    fn write(&mut self) {
        let mut left = &self.bytes[..self.len];
        while !left.is_empty() {
            // SAFETY: the kernel reads the bytes of a live slice.
            match unsafe { c::write(self.fd, left.as_ptr().cast(), left.len()) } {
                written if written > 0 => left = &left[written as usize..],
                // There is nowhere to say so.
                _ => break,
            }
        }
        self.len = 0;
    }
}

/// The handler of fatal signals. Runs in a signal's context: no allocation, no
/// lock, no call that is not made for it. What it says first needs least.
extern "C" fn report_crash(signal: c_int, info: *const c::SigInfo, _: *mut c_void) {
    let me = c::gettid();
    match REPORTING.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed) {
        // SAFETY: this thread's number has just been put there, by nobody else.
        Ok(_) => write_report(unsafe { &mut *REPORT.0.get() }, signal, info, me),
        // The report itself has crashed.
        Err(busy) if busy == me => {}
        // Another thread reports, and ends the process.
        Err(_) => loop {
            // SAFETY: waits for nothing, for ever.
            unsafe { c::poll(ptr::null_mut(), 0, -1) };
        },
    }
    // SAFETY: the default disposition is no handler of ours.
    unsafe { c::signal(signal, 0) };
    c::raise(signal);
    c::_exit(128 + signal);
}

fn write_report(report: &mut Report, signal: c_int, info: *const c::SigInfo, thread: c_int) {
    const PR_GET_NAME: c_int = 16;
    const O_WRONLY_APPEND_CREATE: c_int = 0o1 | 0o2000 | 0o100;
    let path = CRASH_LOG.load(Ordering::Acquire);
    if !path.is_null() {
        // SAFETY: a path of ours, which is never freed.
        report.fd = match unsafe { c::open(path, O_WRONLY_APPEND_CREATE, 0o644) } {
            -1 => 2,
            fd => fd,
        };
    }
    report.text("\n\n=== REDIS BUG REPORT START: all of this, to the line that says END, belongs to it ===\n");
    // SAFETY: with SA_SIGINFO the kernel hands in a filled structure.
    let (code, origin) = unsafe { ((*info).code, (*info).origin) };
    let sign = if code < 0 { "-" } else { "" };
    report
        .begin()
        .text(concat!(
            "stdis ",
            env!("CARGO_PKG_VERSION"),
            " crashed by signal: "
        ))
        .number(signal as u64, 10)
        .text(", si_code: ")
        .text(sign)
        .number(code.unsigned_abs().into(), 10)
        .text("\n")
        .write();
    report.begin();
    // Zero and below: it was sent, by a process that is named.
    match code <= 0 {
        true => report
            .text("Killed by PID: ")
            .number(origin & 0xffff_ffff, 10)
            .text(", UID: ")
            .number(origin >> 32, 10),
        false => report.text("Accessing address: 0x").number(origin, 16),
    };
    report.text("\n").write();
    let mut name = [0u8; 17];
    // SAFETY: the kernel writes at most 16 bytes.
    unsafe { c::prctl(PR_GET_NAME, name.as_mut_ptr()) };
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    report
        .begin()
        .text("Thread: ")
        .text(std::str::from_utf8(name).unwrap_or("?"))
        .text(" (")
        .number(thread as u64, 10)
        .text(")");
    DOING.with(|doing| {
        let client = doing.client.load(Ordering::Relaxed);
        if client != 0 {
            report
                .text(", which last served client ")
                .number(client, 10)
                .text(" with command ")
                .text(name_at(doing.command.load(Ordering::Relaxed)));
        }
        let part = name_at(doing.part.load(Ordering::Relaxed));
        if !part.is_empty() {
            report.text(", at ").text(part);
        }
    });
    report.text("\n\n------ STACK TRACE ------\n").write();
    // SAFETY: the array has as much room as is said; the second call reads what
    // the first has put there, and writes to a descriptor of ours without
    // asking for memory.
    unsafe {
        let count = c::backtrace(report.frames.as_mut_ptr(), FRAMES as c_int);
        c::backtrace_symbols_fd(report.frames.as_ptr(), count, report.fd);
    }
    report.text("\n=== REDIS BUG REPORT END ===\n").write();
}

// ---------------------------------------------------------------------------
// Watching
// ---------------------------------------------------------------------------

const SIGALRM: c_int = 14;

/// The threads that are watched, by the system's number.
static WATCHED: Mutex<BTreeMap<c_int, Place>> = Mutex::new(BTreeMap::new());

/// Where a thread notes what it is doing. It is there for as long as the thread
/// has its [`Watched`], which removes it from the list.
struct Place {
    doing: *const Doing,
    name: String,
}

// SAFETY: what it points to consists of atomics, and is only looked at while it
// is in the list.
unsafe impl Send for Place {}

fn watched() -> MutexGuard<'static, BTreeMap<c_int, Place>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as the thread has this, [`busy_threads`] looks at it.
pub struct Watched(PhantomData<*const ()>);

/// Has [`busy_threads`] look at the calling thread.
pub fn watch_thread() -> Watched {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let doing = DOING.with(ptr::from_ref);
    watched().insert(thread_id(), Place { doing, name });
    Watched(PhantomData)
}

impl Drop for Watched {
    fn drop(&mut self) {
        watched().remove(&thread_id());
    }
}

/// A thread that is carrying out a command.
#[derive(Debug)]
pub struct Busy {
    /// The system's number for it.
    pub thread: i32,
    /// Its name.
    pub name: String,
    /// The client whose command it is.
    pub client: u64,
    /// The command.
    pub command: &'static str,
    /// The command of a transaction that it is at, or nothing.
    pub part: &'static str,
    /// Whether it was the same when it was last looked at.
    pub still: bool,
}

/// The threads that are watched and carry out a command at the moment.
pub fn busy_threads() -> Vec<Busy> {
    let mut all = Vec::new();
    for (&thread, place) in watched().iter() {
        // SAFETY: it is in the list, which is locked, so the thread has not
        // ended, and with it what it keeps for itself alone.
        let doing = unsafe { &*place.doing };
        let command = doing.command.load(Ordering::Relaxed);
        if command.is_null() || command.addr() & DONE != 0 {
            continue;
        }
        let still = command.addr() & SEEN != 0;
        let seen = command.map_addr(|bits| bits | SEEN);
        let marked =
            doing
                .command
                .compare_exchange(command, seen, Ordering::Relaxed, Ordering::Relaxed);
        if marked.is_ok() {
            all.push(Busy {
                thread,
                name: place.name.clone(),
                client: doing.client.load(Ordering::Relaxed),
                command: name_at(command),
                part: name_at(doing.part.load(Ordering::Relaxed)),
                still,
            });
        }
    }
    all
}

/// Whose stack is asked for: the number of a thread; while that thread writes it
/// down, the negative of it; [`WRITTEN`] when it is there; 0 for nobody's.
static ASKED: AtomicI32 = AtomicI32::new(0);
/// See [`ASKED`].
const WRITTEN: c_int = c_int::MIN;

/// A stack that a thread has written down, and how much of it there is.
struct Stack(UnsafeCell<([*mut c_void; FRAMES], c_int)>);

// SAFETY: `ASKED` says whose turn it is: the thread's that it names while it is
// negative, and that of who has asked once it is `WRITTEN`.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new(([ptr::null_mut(); FRAMES], 0)));

/// Held by who asks.
static ASKING: Mutex<()> = Mutex::new(());

/// Has SIGALRM tell the stack of the thread that gets it, which [`stack_of`]
/// needs; or be ignored.
///
/// # Errors
/// What sigaction(2) reports.
pub fn show_stacks(on: bool) -> io::Result<()> {
    const SA_SIGINFO: c_int = 4;
    const SA_ONSTACK: c_int = 0x0800_0000;
    const SA_RESTART: c_int = 0x1000_0000;
    const SIG_IGN: usize = 1;
    let handler: extern "C" fn(c_int, *const c::SigInfo, *mut c_void) = write_stack;
    let new = c::SigAction {
        handler: if on { handler as usize } else { SIG_IGN },
        mask: c::SigSet::EMPTY,
        // What the thread waits for goes on.
        flags: SA_SIGINFO | SA_ONSTACK | SA_RESTART,
        restorer: 0,
    };
    // What it loads at its first use must not be loaded in a handler.
    let mut frame = [ptr::null_mut(); 1];
    // SAFETY: the array has room for the one frame asked for.
    unsafe { c::backtrace(frame.as_mut_ptr(), 1) };
    // SAFETY: the structure outlives the call; the handler has the signature
    // that SA_SIGINFO asks for, and calls nothing that is not safe in a
    // signal's context.
    check(unsafe { c::sigaction(SIGALRM, &new, ptr::null_mut()) }).map(drop)
}

/// The handler: writes the stack down if this thread's is asked for. Runs in a
/// signal's context, and the thread goes on afterwards as if nothing had been.
extern "C" fn write_stack(_: c_int, _: *const c::SigInfo, _: *mut c_void) {
    let me = c::gettid();
    // SAFETY: the address of this thread's own.
    let errno = unsafe { *c::__errno_location() };
    let mine = ASKED.compare_exchange(me, -me, Ordering::Acquire, Ordering::Relaxed);
    if mine.is_ok() {
        // SAFETY: this thread's number stands there with its sign changed, which
        // nobody else changes.
        let (frames, count) = unsafe { &mut *STACK.0.get() };
        // SAFETY: the array has as much room as is said.
        *count = unsafe { c::backtrace(frames.as_mut_ptr(), FRAMES as c_int) };
        ASKED.store(WRITTEN, Ordering::Release);
    }
    // SAFETY: as above.
    unsafe { *c::__errno_location() = errno };
}

/// What a thread of this process is doing at the moment, a line for each call, the
/// last one first, as [`show_stacks`] has made possible. `None` when it has
/// ended, or does not tell in time.
pub fn stack_of(thread: i32, patience: Duration) -> Option<Vec<String>> {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    ASKED.store(thread, Ordering::Release);
    let sent = c::tgkill(clamp_to_int(std::process::id().into()), thread, SIGALRM) == 0;
    let start = Instant::now();
    while ASKED.load(Ordering::Acquire) != WRITTEN {
        if !sent || start.elapsed() >= patience {
            let taken_back =
                ASKED.compare_exchange(thread, 0, Ordering::Relaxed, Ordering::Relaxed);
            if taken_back.is_ok() {
                return None;
            }
            // It has begun, and is about to be done.
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: it is written, and nobody writes another before it is asked for.
    let (frames, count) = unsafe { &*STACK.0.get() };
    let mut lines = Vec::new();
    // SAFETY: the call reads as many frames as are there.
    let names = unsafe { c::backtrace_symbols(frames.as_ptr(), *count) };
    if !names.is_null() {
        for at in 0..*count as usize {
            // SAFETY: there are as many strings as frames, all in one block, which
            // is read before it is given back.
            let name = unsafe { CStr::from_ptr(*names.add(at)) };
            lines.push(name.to_string_lossy().into_owned());
        }
        // SAFETY: the block is the caller's to free, once, and with C's free.
        unsafe { c::free(names.cast()) };
    }
    ASKED.store(0, Ordering::Release);
    Some(lines)
}

/// Ends the process as a fault in it would, for tests.
pub fn crash() -> ! {
    c::raise(SIGSEGV);
    exit_now(128 + SIGSEGV)
}

/// Stops the process until somebody has it go on, which tells an init that waits for that that the
/// start is over.
pub fn stop_self() {
    const SIGSTOP: c_int = 19;
    c::raise(SIGSTOP);
}

// ---------------------------------------------------------------------------
// Sockets
// ---------------------------------------------------------------------------

const AF_INET: c_int = 2;
const AF_INET6: c_int = 10;
const SOCK_STREAM: c_int = 1;
const SOCK_CLOEXEC: c_int = 0o2000000;
const SOL_SOCKET: c_int = 1;
const SO_REUSEADDR: c_int = 2;
const SO_KEEPALIVE: c_int = 9;
const IPPROTO_TCP: c_int = 6;
const TCP_KEEPIDLE: c_int = 4;
const TCP_KEEPINTVL: c_int = 5;
const TCP_KEEPCNT: c_int = 6;
const TCP_INFO: c_int = 11;
const IPPROTO_IPV6: c_int = 41;
const IPV6_V6ONLY: c_int = 26;
const EINPROGRESS: i32 = 115;
const MSG_DONTWAIT: c_int = 0x40;
const MSG_NOSIGNAL: c_int = 0x4000;
const FIONREAD: c_ulong = 0x541B;
const SIOCOUTQ: c_ulong = 0x5411;
const POLLIN: c_short = 0x1;
const POLLOUT: c_short = 0x4;
const POLLERR: c_short = 0x8;
const POLLHUP: c_short = 0x10;
const POLLRDHUP: c_short = 0x2000;

/// The most slices that Linux takes in one call.
const IOV_MAX: usize = 1024;

/// Repeats a call for as long as a signal interrupts it.
#[inline]
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match call() {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            done => return Ok(done as usize),
        }
    }
}

#[inline]
fn recv(fd: impl AsFd, buf: &mut [u8], flags: c_int) -> io::Result<usize> {
    let fd = fd.as_fd();
    // SAFETY: the kernel writes at most `buf.len()` bytes, all into `buf`,
    // which is borrowed for the call; `fd` is borrowed and therefore open.
    retry(|| unsafe { c::recv(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), flags) })
}

#[inline]
fn send(fd: impl AsFd, buf: &[u8], flags: c_int) -> io::Result<usize> {
    let fd = fd.as_fd();
    // SAFETY: the kernel reads at most `buf.len()` bytes of `buf`, which is
    // borrowed for the call; `fd` is borrowed and therefore open.
    retry(|| unsafe { c::send(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), flags) })
}

/// Reads what has arrived, and fails with `WouldBlock` if that is nothing,
/// whatever the mode of the socket. 0 is the end of the stream (or `buf` was
/// empty).
#[inline]
pub fn recv_nonblocking(fd: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    recv(fd, buf, MSG_DONTWAIT)
}

/// Reads what has arrived, waiting for it if the socket is a blocking one (and
/// failing with `WouldBlock` once its read timeout is over). 0 is the end of
/// the stream (or `buf` was empty).
#[inline]
pub fn recv_blocking(fd: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    recv(fd, buf, 0)
}

/// Sends as much as the socket buffer takes now, and fails with `WouldBlock`
/// if that is nothing, whatever the mode of the socket.
#[inline]
pub fn send_nonblocking(fd: impl AsFd, buf: &[u8]) -> io::Result<usize> {
    send(fd, buf, MSG_DONTWAIT | MSG_NOSIGNAL)
}

/// Sends `buf`, waiting for room if the socket is a blocking one. As with any
/// `write`, less than all may be sent (a write timeout cuts it short).
#[inline]
pub fn send_blocking(fd: impl AsFd, buf: &[u8]) -> io::Result<usize> {
    send(fd, buf, MSG_NOSIGNAL)
}

/// As [`send_nonblocking`], from several slices in turn. Returns the bytes sent
/// over all; slices beyond the 1024th are left for the next call.
#[inline]
pub fn sendv_nonblocking(fd: impl AsFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let fd = fd.as_fd();
    let msg = c::MsgHdr {
        name: ptr::null_mut(),
        namelen: 0,
        iov: bufs.as_ptr().cast(),
        iovlen: bufs.len().min(IOV_MAX),
        control: ptr::null_mut(),
        controllen: 0,
        flags: 0,
    };
    // SAFETY: std guarantees that IoSlice has the layout of iovec; the slices
    // and what they point to are borrowed for the call and only read. Name and
    // control data are absent, with length 0.
    retry(|| unsafe { c::sendmsg(fd.as_raw_fd(), &msg, MSG_DONTWAIT | MSG_NOSIGNAL) })
}

fn set_option(fd: impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = mem::size_of::<c_int>() as c_uint;
    // SAFETY: the kernel reads `len` bytes of `value`, a local of that size.
    check(unsafe {
        c::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            len,
        )
    })
    .map(drop)
}

/// TCP keepalive as Redis' `tcp-keepalive` sets it: the first probe after
/// `interval_secs` of silence, the next ones a third of that apart, and the
/// peer is given up after three. 0 turns keepalive off.
pub fn set_keepalive(fd: impl AsFd, interval_secs: u32) -> io::Result<()> {
    let fd = fd.as_fd();
    if interval_secs == 0 {
        return set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    }
    // Linux accepts no more than 32767 seconds.
    let idle = interval_secs.min(32767) as c_int;
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1)?;
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle)?;
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, (idle / 3).max(1))?;
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3)
}

/// Ends a connection in both directions: reads and writes that wait in other
/// threads return, and the peer sees the end of the stream.
pub fn shutdown(fd: impl AsFd) -> io::Result<()> {
    const SHUT_RDWR: c_int = 2;
    check(c::shutdown(fd.as_fd().as_raw_fd(), SHUT_RDWR)).map(drop)
}

/// Ends the sending direction only; what was sent before still arrives.
pub fn shutdown_send(fd: impl AsFd) -> io::Result<()> {
    const SHUT_WR: c_int = 1;
    check(c::shutdown(fd.as_fd().as_raw_fd(), SHUT_WR)).map(drop)
}

/// Lets reads and writes return `WouldBlock` instead of waiting, or not.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    const FIONBIO: c_ulong = 0x5421;
    let mut on = c_int::from(on);
    // SAFETY: the request reads one int at the pointer, a live local.
    check(unsafe { c::ioctl(fd.as_fd().as_raw_fd(), FIONBIO, &raw mut on) }).map(drop)
}

/// Lets blocking reads return `WouldBlock` after this many milliseconds; 0 lets
/// them wait for ever.
pub fn set_receive_timeout(fd: impl AsFd, ms: u32) -> io::Result<()> {
    const SO_RCVTIMEO: c_int = 20;
    let time = [i64::from(ms / 1000), i64::from(ms % 1000) * 1000];
    let len = mem::size_of_val(&time) as c_uint;
    // SAFETY: the kernel reads one timeval, two 64-bit words, at a live local.
    let set = unsafe {
        c::setsockopt(
            fd.as_fd().as_raw_fd(),
            SOL_SOCKET,
            SO_RCVTIMEO,
            (&raw const time).cast(),
            len,
        )
    };
    check(set).map(drop)
}

/// Sets the backlog of a bound stream socket, and makes it listen. On one that
/// listens already (std's listeners do, with a backlog of their choice) the
/// new backlog replaces the old; the system caps it at `somaxconn`.
pub fn listen(fd: impl AsFd, backlog: u32) -> io::Result<()> {
    let backlog = clamp_to_int(backlog.into());
    check(c::listen(fd.as_fd().as_raw_fd(), backlog)).map(drop)
}

/// A listening TCP socket, closed on exec, that can take over an address whose
/// old connections linger. An IPv6 one takes IPv6 only, so that `0.0.0.0` and
/// `::` can be bound side by side.
pub fn bind_tcp(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let fd = tcp_socket(addr)?;
    if addr.is_ipv6() {
        set_option(&fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)?;
    }
    bind(&fd, addr)?;
    listen(&fd, backlog)?;
    Ok(TcpListener::from(fd))
}

/// A TCP socket, closed on exec, with an address of this machine's own: where a
/// connection is to come from, for [`connect`].
pub fn bound_socket(source: SocketAddr) -> io::Result<OwnedFd> {
    let fd = tcp_socket(source)?;
    bind(&fd, source)?;
    Ok(fd)
}

/// Connects a socket that is not connected, within `timeout`.
pub fn connect(fd: OwnedFd, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::from(fd);
    stream.set_nonblocking(true)?;
    let addr = RawAddr::from(target);
    let (at, len) = addr.parts();
    // SAFETY: the kernel reads `len` bytes at `at`, the size of what is there.
    let connected = check(unsafe { c::connect(stream.as_raw_fd(), at, len) });
    if let Err(error) = connected {
        if error.raw_os_error() != Some(EINPROGRESS) {
            return Err(error);
        }
        let ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        if !wait_writable(&stream, ms)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A TCP socket for addresses of this family.
fn tcp_socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AF_INET } else { AF_INET6 };
    let raw = check(c::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0))?;
    // SAFETY: the descriptor is new, open, and nobody else knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    set_option(&fd, SOL_SOCKET, SO_REUSEADDR, 1)?;
    Ok(fd)
}

/// An address as the kernel reads it.
enum RawAddr {
    V4(c::SockAddrIn),
    V6(c::SockAddrIn6),
}

impl RawAddr {
    /// Where it is, and its size.
    fn parts(&self) -> (*const c_void, c_uint) {
        match self {
            RawAddr::V4(v4) => (ptr::from_ref(v4).cast(), mem::size_of_val(v4) as c_uint),
            RawAddr::V6(v6) => (ptr::from_ref(v6).cast(), mem::size_of_val(v6) as c_uint),
        }
    }
}

impl From<SocketAddr> for RawAddr {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(v4) => RawAddr::V4(c::SockAddrIn {
                family: AF_INET as u16,
                port_be: v4.port().to_be(),
                addr: v4.ip().octets(),
                zero: [0; 8],
            }),
            SocketAddr::V6(v6) => RawAddr::V6(c::SockAddrIn6 {
                family: AF_INET6 as u16,
                port_be: v6.port().to_be(),
                flowinfo: v6.flowinfo(),
                addr: v6.ip().octets(),
                scope_id: v6.scope_id(),
            }),
        }
    }
}

fn bind(fd: &OwnedFd, addr: SocketAddr) -> io::Result<()> {
    let addr = RawAddr::from(addr);
    let (at, len) = addr.parts();
    // SAFETY: the kernel reads `len` bytes at `at`, the size of what is there.
    check(unsafe { c::bind(fd.as_raw_fd(), at, len) }).map(drop)
}

fn queued(fd: impl AsFd, request: c_ulong) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: both requests store one int at the pointer, a live local.
    check(unsafe { c::ioctl(fd.as_fd().as_raw_fd(), request, &raw mut bytes) })?;
    Ok(bytes.max(0) as usize)
}

/// The bytes that have arrived and are not read yet.
pub fn pending_input(fd: impl AsFd) -> io::Result<usize> {
    queued(fd, FIONREAD)
}

/// Where `struct tcp_info` has the number of bytes received, and its size up to the end of that.
const TCPI_BYTES_RECEIVED: usize = 128;
const TCPI_LEN: usize = TCPI_BYTES_RECEIVED + 8;

/// All bytes that have arrived since a TCP connection was made, read or not; once its end has
/// arrived, one more.
///
/// # Errors
/// It is no TCP connection, or the kernel is older than 4.1.
pub fn received(fd: impl AsFd) -> io::Result<u64> {
    let mut info = [0u64; TCPI_LEN / 8];
    let mut len = TCPI_LEN as c_uint;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which has as many, and the number of
    // those written to `len`; both are live locals.
    check(unsafe {
        c::getsockopt(
            fd.as_fd().as_raw_fd(),
            IPPROTO_TCP,
            TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    })?;
    match len as usize {
        TCPI_LEN => Ok(info[TCPI_BYTES_RECEIVED / 8]),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The bytes sent but not acknowledged by the peer yet (on a Unix socket: not
/// read by the peer yet, and with the kernel's own overhead).
pub fn send_queue(fd: impl AsFd) -> io::Result<usize> {
    queued(fd, SIOCOUTQ)
}

/// Whether the peer has closed or reset the connection, or shut down its
/// sending side, even if input that it sent before is still unread.
///
/// Asks by poll(2) and not by a peek: a peek sees no further than unread input,
/// and it eats the pending error of a reset, which the next read then misses.
pub fn peer_gone(fd: impl AsFd) -> bool {
    match poll(fd, POLLRDHUP, 0) {
        Ok(events) => events & (POLLRDHUP | POLLHUP | POLLERR) != 0,
        Err(_) => false,
    }
}

/// Waits until a read would not block: input, the end of the stream, or an
/// error. False when `timeout_ms` went by first; a negative one waits for ever.
pub fn wait_readable(fd: impl AsFd, timeout_ms: i32) -> io::Result<bool> {
    poll(fd, POLLIN, timeout_ms).map(|events| events != 0)
}

/// Waits until a write would not block: room in the socket buffer, or an error.
/// False when `timeout_ms` went by first; a negative one waits for ever.
pub fn wait_writable(fd: impl AsFd, timeout_ms: i32) -> io::Result<bool> {
    poll(fd, POLLOUT, timeout_ms).map(|events| events != 0)
}

/// poll(2) on one descriptor; the events that hold, 0 after the timeout.
fn poll(fd: impl AsFd, events: c_short, timeout_ms: i32) -> io::Result<c_short> {
    let fd = fd.as_fd();
    let deadline = match u64::try_from(timeout_ms) {
        Ok(ms) if ms > 0 => Some(Instant::now() + Duration::from_millis(ms)),
        _ => None,
    };
    let mut left_ms = timeout_ms;
    loop {
        let mut entry = c::PollFd {
            fd: fd.as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: exactly one entry is passed, a live local.
        match check(unsafe { c::poll(&mut entry, 1, left_ms) }) {
            Ok(_) => return Ok(entry.revents),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Err(_) => {}
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so as not to spin through the last millisecond.
            left_ms = clamp_to_int(left.as_micros().div_ceil(1000) as u64);
        }
    }
}

/// A list of descriptors that are asked together, by one system call, whether
/// reading from them would give something.
pub struct PollSet {
    entries: Vec<c::PollFd>,
    events: c_short,
}

impl Default for PollSet {
    fn default() -> Self {
        PollSet {
            entries: Vec::new(),
            events: POLLIN,
        }
    }
}

impl PollSet {
    /// An empty list that asks instead whether the peer has gone, as
    /// [`peer_gone`] does.
    pub fn for_hangups() -> PollSet {
        PollSet {
            entries: Vec::new(),
            events: POLLRDHUP,
        }
    }

    /// Adds a descriptor at the end of the list. It is the caller's to remove
    /// it before it is closed; otherwise the answer for it means nothing.
    pub fn push(&mut self, fd: impl AsFd) {
        let fd = fd.as_fd().as_raw_fd();
        self.entries.push(c::PollFd {
            fd,
            events: self.events,
            revents: 0,
        });
    }

    /// Removes the descriptor at `index`; the last one takes its place.
    pub fn swap_remove(&mut self, index: usize) {
        self.entries.swap_remove(index);
    }

    /// Asks about all of them, without waiting. Returns how many are ready.
    pub fn ask(&mut self) -> io::Result<usize> {
        let count = self.entries.len() as c_ulong;
        // SAFETY: the kernel reads and writes `count` entries, those of the
        // vector, which is borrowed for the call.
        check(unsafe { c::poll(self.entries.as_mut_ptr(), count, 0) }).map(|ready| ready as usize)
    }

    /// Whether the descriptor at `index` was ready (or broken) when last asked.
    pub fn is_ready(&self, index: usize) -> bool {
        self.entries[index].revents != 0
    }
}

const EPOLL_CLOEXEC: c_int = 0o2_000_000;
const EPOLL_CTL_ADD: c_int = 1;
const EPOLL_CTL_DEL: c_int = 2;
const EPOLLRDHUP: u32 = 0x2000;
/// Answers to one question.
const HANGUPS: usize = 64;

/// Descriptors of which to ask, all at once and however many they are, whether
/// the peer has gone, as [`peer_gone`] does for one. The kernel keeps the
/// answer up to date, so that to ask costs next to nothing.
#[derive(Debug)]
pub struct Hangups(OwnedFd);

impl Hangups {
    /// Without any descriptor.
    pub fn new() -> io::Result<Hangups> {
        let fd = check(c::epoll_create1(EPOLL_CLOEXEC))?;
        // SAFETY: the call has just opened the descriptor, for nobody else.
        Ok(Hangups(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds a descriptor, under a number that the answers give. Closing it
    /// removes it.
    pub fn add(&self, fd: impl AsFd, number: u64) -> io::Result<()> {
        let mut event = c::EpollEvent {
            events: EPOLLRDHUP,
            data: number,
        };
        self.control(EPOLL_CTL_ADD, fd, &raw mut event)
    }

    /// Removes a descriptor.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(EPOLL_CTL_DEL, fd, std::ptr::null_mut())
    }

    fn control(&self, op: c_int, fd: impl AsFd, event: *mut c::EpollEvent) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: the kernel only reads the event, which both callers own; to
        // remove a descriptor takes none.
        check(unsafe { c::epoll_ctl(self.0.as_raw_fd(), op, fd, event) }).map(drop)
    }

    /// The numbers of those whose peers have gone; where they are many, some of
    /// them. Whoever is not removed is given again.
    pub fn ask(&self) -> Vec<u64> {
        let mut events = [c::EpollEvent { events: 0, data: 0 }; HANGUPS];
        let (epoll, most) = (self.0.as_raw_fd(), HANGUPS as c_int);
        // SAFETY: the kernel writes at most as many events as the array has.
        let found = unsafe { c::epoll_wait(epoll, events.as_mut_ptr(), most, 0) };
        let found = usize::try_from(found).unwrap_or(0);
        events[..found].iter().map(|event| event.data).collect()
    }
}

// ---------------------------------------------------------------------------
// Process
// ---------------------------------------------------------------------------

const RLIMIT_NOFILE: c_int = 7;
const SC_CLK_TCK: c_int = 2;
const SC_PAGESIZE: c_int = 30;
const SC_PHYS_PAGES: c_int = 85;

fn limits() -> io::Result<c::RLimit> {
    let mut limit = c::RLimit { soft: 0, hard: 0 };
    // SAFETY: the call fills in the one structure it is given.
    check(unsafe { c::getrlimit(RLIMIT_NOFILE, &mut limit) })?;
    Ok(limit)
}

fn set_limits(soft: u64, hard: u64) -> bool {
    let limit = c::RLimit { soft, hard };
    // SAFETY: the call only reads the structure.
    unsafe { c::setrlimit(RLIMIT_NOFILE, &limit) == 0 }
}

/// How many descriptors the process may have open (the soft limit).
pub fn nofile_limit() -> u64 {
    limits().map_or(0, |limit| limit.soft)
}

/// Raises the limit on open descriptors to `wanted`, or as near to it as the
/// hard limit lets it (which only root can raise). Never lowers it. Returns
/// the limit then in force.
pub fn raise_nofile_limit(wanted: u64) -> u64 {
    if let Ok(limit) = limits()
        && limit.soft < wanted
        && !set_limits(wanted, limit.hard.max(wanted))
    {
        // A refusal leaves the old limit standing, which the return value says.
        set_limits(limit.hard, limit.hard);
    }
    nofile_limit()
}

/// User and system time in microseconds, of those that `who` names.
fn rusage(who: c_int) -> (u64, u64) {
    let zero = || c::TimeVal { sec: 0, usec: 0 };
    let mut usage = c::RUsage {
        user: zero(),
        system: zero(),
        rest: [0; 14],
    };
    // SAFETY: the call fills in the one structure it is given. It can only
    // fail for an unknown `who`, and then the times stay 0.
    unsafe { c::getrusage(who, &mut usage) };
    let micros = |t: &c::TimeVal| t.sec as u64 * 1_000_000 + t.usec as u64;
    (micros(&usage.user), micros(&usage.system))
}

/// CPU time used so far, in microseconds: user and system time of this process
/// with all its threads, then user and system time of its dead children.
pub fn cpu_times() -> (u64, u64, u64, u64) {
    const RUSAGE_SELF: c_int = 0;
    const RUSAGE_CHILDREN: c_int = -1;
    let (user, system) = rusage(RUSAGE_SELF);
    let (user_children, system_children) = rusage(RUSAGE_CHILDREN);
    (user, system, user_children, system_children)
}

/// User and system time of the calling thread, in microseconds.
pub fn thread_cpu_times() -> (u64, u64) {
    const RUSAGE_THREAD: c_int = 1;
    rusage(RUSAGE_THREAD)
}

/// User and system time of the main thread, in microseconds, whichever thread
/// asks. Comes from `/proc`, so in steps of a clock tick (10 ms as a rule).
pub fn main_thread_cpu_times() -> (u64, u64) {
    let pid = std::process::id();
    let stat = fs::read_to_string(format!("/proc/self/task/{pid}/stat")).unwrap_or_default();
    let ticks_per_sec = c::sysconf(SC_CLK_TCK).max(1) as u64;
    // The name in brackets may hold anything; behind it come plain fields, of
    // which utime and stime are the 12th and 13th (proc(5): 14 and 15).
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let mut times = fields.split_ascii_whitespace().skip(11).map(|field| {
        let ticks: u64 = field.parse().unwrap_or(0);
        ticks * 1_000_000 / ticks_per_sec
    });
    (times.next().unwrap_or(0), times.next().unwrap_or(0))
}

/// Has the processor fetch what begins at `place` into its cache, without waiting for it.
#[inline]
pub fn fetch<T: ?Sized>(place: &T) {
    let place = ptr::from_ref(place).cast::<u8>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing the program could notice and never
    // faults; every x86-64 processor has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) place, options(nostack, readonly, preserves_flags));
    }
}

/// A page of memory, in bytes.
pub fn page_size() -> u64 {
    c::sysconf(SC_PAGESIZE).max(1) as u64
}

/// The memory of this process that is in RAM, in bytes; 0 if `/proc` is not
/// there to tell.
pub fn resident_memory() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1);
    pages.and_then(|n| n.parse().ok()).unwrap_or(0u64) * page_size()
}

/// The RAM of the machine, in bytes.
pub fn total_system_memory() -> u64 {
    c::sysconf(SC_PHYS_PAGES).max(0) as u64 * page_size()
}

/// The machine, in the words of uname(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uname {
    /// The operating system: `Linux`.
    pub sysname: String,
    /// The kernel's release.
    pub release: String,
    /// The architecture: `x86_64`, `aarch64`.
    pub machine: String,
}

/// Asks what machine this is.
pub fn uname() -> Uname {
    let mut name = c::UtsName([[0; 65]; 6]);
    // SAFETY: the call fills in the one structure it is given. On a failure,
    // which only a bad pointer could cause, the fields stay empty.
    unsafe { c::uname(&mut name) };
    let field = |index: usize| {
        let bytes = name.0[index].map(|b| b as u8);
        CStr::from_bytes_until_nul(&bytes)
            .map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    Uname {
        sysname: field(0),
        release: field(2),
        machine: field(4),
    }
}

/// Whether a descriptor is a terminal.
pub fn is_tty(fd: impl AsFd) -> bool {
    fd.as_fd().is_terminal()
}

/// Goes on in the background: in a new process and a session of its own, with
/// standard input, output and error on `/dev/null`. The process that called
/// exits with 0, and never returns from here; the new one returns `Ok`.
///
/// # Errors
/// Refuses to run once the process has more than one thread, since only the
/// calling one would live on; otherwise what fork(2) reports.
pub fn daemonize() -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("daemonize() after threads were started"));
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: this is the only thread, as has just been seen, so nobody can
    // start another in between, and the child inherits no lock that a vanished
    // thread would hold.
    if check(unsafe { c::fork() })? != 0 {
        exit_now(0);
    }
    check(c::setsid())?;
    for standard in 0..=2 {
        // SAFETY: nothing in std owns the standard descriptors, and `null` is
        // none of them: Rust's runtime opens any that is closed at startup.
        check(unsafe { c::dup2(null.as_raw_fd(), standard) })?;
    }
    Ok(())
}

/// How many seconds local time is ahead of UTC at `unix_secs` (negative in the
/// west), by the time zone of the environment; 0 if it cannot be told.
pub fn local_time_offset(unix_secs: i64) -> i32 {
    let mut tm = c::Tm {
        fields: [0; 9],
        gmtoff: 0,
        zone: ptr::null(),
    };
    // SAFETY: both point to locals; the call fills in `tm`. It reads TZ from
    // the environment, and whoever changes that (std marks it unsafe) answers
    // for no other thread reading it meanwhile.
    if unsafe { c::localtime_r(&unix_secs, &mut tm) }.is_null() {
        return 0;
    }
    tm.gmtoff as i32
}

/// The system's number for the calling thread, as `top -H` shows it.
pub fn thread_id() -> i32 {
    c::gettid()
}

/// Names the calling thread; in the main thread that is the name of the process
/// in `ps` and `top`. Linux keeps the first 15 bytes; a NUL ends the name.
pub fn set_name(title: &str) {
    const PR_SET_NAME: c_int = 15;
    let visible = title.split('\0').next().unwrap_or_default();
    if let Ok(name) = CString::new(visible) {
        // SAFETY: the kernel reads at most 16 bytes, up to the NUL at the end.
        unsafe { c::prctl(PR_SET_NAME, name.as_ptr()) };
    }
}

/// Has no huge pages used for this process from now on.
///
/// # Errors
/// What prctl(2) reports.
pub fn disable_huge_pages() -> io::Result<()> {
    const PR_SET_THP_DISABLE: c_int = 41;
    const NONE: c_ulong = 0;
    const YES: c_ulong = 1;
    // SAFETY: takes numbers only.
    check(unsafe { c::prctl(PR_SET_THP_DISABLE, YES, NONE, NONE, NONE) }).map(drop)
}

// ---------------------------------------------------------------------------
// Title
// ---------------------------------------------------------------------------

/// Where the kernel reads the command line of the process from, as addresses:
/// where it begins, where the arguments end, and where the room ends.
struct TitleRoom {
    start: usize,
    arguments_end: usize,
    end: usize,
}

/// The room, once it has been claimed.
static TITLE: Mutex<Option<TitleRoom>> = Mutex::new(None);

/// Makes room for [`set_title`]: the memory that the arguments of the process
/// are in, and that of its environment, which is copied elsewhere. The
/// arguments cannot be asked for afterwards. Where it cannot be had, the title
/// stays as it is.
///
/// # Errors
/// Refuses to once the process has more than one thread, which might be reading
/// the environment; otherwise what reading `/proc` reports.
pub fn claim_title() -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("claim_title() after threads were started"));
    }
    let mut claimed = TITLE.lock().unwrap_or_else(PoisonError::into_inner);
    if claimed.is_some() {
        return Ok(());
    }
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    // proc(5): arguments and environment are fields 48 to 51, of which the
    // first behind the name is the third.
    let mut places = fields.split_ascii_whitespace().skip(45);
    let mut place = || places.next().and_then(|word| word.parse::<usize>().ok());
    let (Some(start), Some(arguments_end), Some(more), Some(end)) =
        (place(), place(), place(), place())
    else {
        return Ok(());
    };
    if start == 0 || start >= arguments_end {
        return Ok(());
    }
    let end = match more == arguments_end && more < end {
        true => {
            // SAFETY: this is the only thread. The array ends with a null
            // pointer, and each pointer before that is to a C string; they
            // are replaced by pointers to copies that are never freed.
            unsafe {
                let mut entry = c::environ;
                while !entry.is_null() && !(*entry).is_null() {
                    *entry = CStr::from_ptr(*entry).to_owned().into_raw();
                    entry = entry.add(1);
                }
            }
            end
        }
        false => arguments_end,
    };
    *claimed = Some(TitleRoom {
        start,
        arguments_end,
        end,
    });
    Ok(())
}

/// Shows a text as the command line of the process, as far as there is room,
/// which [`claim_title`] has made.
pub fn set_title(title: &str) {
    let claimed = TITLE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(room) = &*claimed else { return };
    let len = title.len().min(room.end - room.start - 1);
    let base = ptr::with_exposed_provenance_mut::<u8>(room.start);
    // SAFETY: the memory between the two addresses is that of the arguments and
    // the environment at the start, at the bottom of the main thread's stack,
    // writable for as long as the process lives; nobody reads either there any
    // more. `len` leaves room for the NUL, and whoever else sets a title waits
    // for the lock.
    unsafe {
        ptr::write_bytes(base, 0, room.end - room.start);
        ptr::copy_nonoverlapping(title.as_ptr(), base, len);
        // A mark at the end of the arguments has the kernel take all for one
        // text up to its NUL; without, it would show every NUL in between.
        let last = room.arguments_end - 1 - room.start;
        if len < last && room.end > room.arguments_end {
            base.add(last).write(b'.');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{self, Command};
    use std::thread;

    use c::raise;

    unsafe extern "C" {
        safe fn kill(pid: c_int, signal: c_int) -> c_int;
        fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    }

    const CHILD: &str = "STDIS_TEST_CHILD";

    /// Starts the test program over, for one test. In that process, forks once
    /// more and runs `body` as the only thread of the last process, the exit
    /// code of which comes back; returns None there.
    fn in_child_with_output(
        test: &str,
        env: &[(&str, &str)],
        body: impl FnOnce(),
    ) -> Option<process::Output> {
        if std::env::var_os(CHILD).is_some() {
            let code = run_alone(body);
            if code != 0 {
                exit_now(code);
            }
            return None;
        }
        let module = module_path!().split_once("::").unwrap().1;
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg(format!("{module}::{test}"))
            .env(CHILD, "1")
            .envs(env.iter().copied())
            .output()
            .unwrap();
        Some(output)
    }

    /// The harness runs a test beside its main thread; a forked process has but
    /// the one.
    fn run_alone(body: impl FnOnce()) -> i32 {
        // SAFETY: the one other thread waits for this test to end and holds no
        // lock that `body` could need; glibc keeps its own locks sound.
        let pid = check(unsafe { c::fork() }).unwrap();
        if pid == 0 {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            exit_now(if result.is_ok() { 0 } else { 101 });
        }
        let mut status = 0;
        // SAFETY: the status is stored in a local.
        assert_eq!(unsafe { waitpid(pid, &mut status, 0) }, pid);
        process::ExitStatus::from_raw(status).code().unwrap_or(102)
    }

    /// Runs `body` in a process of its own, for what is process-wide.
    fn in_child(test: &str, env: &[(&str, &str)], body: impl FnOnce()) {
        if let Some(output) = in_child_with_output(test, env, body) {
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}\n{text}{errors}", output.status);
            assert!(text.contains("1 passed"), "no such test: {text}");
        }
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = bind_tcp((Ipv4Addr::LOCALHOST, 0).into(), 8).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn option(fd: impl AsFd, level: c_int, name: c_int) -> c_int {
        let (mut value, mut len): (c_int, _) = (0, mem::size_of::<c_int>() as c_uint);
        let (fd, at) = (fd.as_fd().as_raw_fd(), (&raw mut value).cast());
        // SAFETY: the kernel stores one int and its length, both in locals.
        check(unsafe { c::getsockopt(fd, level, name, at, &mut len) }).unwrap();
        value
    }

    #[test]
    fn what_has_been_received_counts_whether_it_is_read_or_not() {
        let (mut client, mut server) = pair();
        assert_eq!(received(&server).unwrap(), 0);
        client.write_all(&[7; 5000]).unwrap();
        assert_eq!(received(&server).unwrap(), 5000);
        server.read_exact(&mut [0; 4000]).unwrap();
        assert_eq!(received(&server).unwrap(), 5000);
        assert_eq!(pending_input(&server).unwrap(), 1000);
        drop(client);
        assert_eq!(received(&server).unwrap(), 5001);
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(received(&one).is_err());
    }

    #[test]
    fn used_memory_follows_what_glibc_uses() {
        in_child("used_memory_follows_what_glibc_uses", &[], || {
            let truth = || {
                let stats = allocator_stats();
                (stats.in_use + stats.mmapped) as f64
            };
            // Ahead of the count, of which it is no part.
            let mut blocks = Vec::with_capacity(100_000);
            let (truth_before, before) = (truth(), used_memory());
            for i in 0..100_000usize {
                let layout = Layout::from_size_align(1 + i * 7 % 300, 1 << (i % 7)).unwrap();
                // SAFETY: the layouts are of non-zero size, and the same layout
                // goes with each block until it is freed below.
                unsafe {
                    let block = match i % 3 {
                        0 => CountingAllocator.alloc_zeroed(layout),
                        _ => CountingAllocator.alloc(layout),
                    };
                    assert!(!block.is_null());
                    let size = layout.size() * (1 + i % 4);
                    let block = CountingAllocator.realloc(block, layout, size);
                    assert!(!block.is_null());
                    let layout = Layout::from_size_align(size, layout.align()).unwrap();
                    blocks.push((block as usize, layout));
                }
            }
            let grown = used_memory() - before;
            let ratio = grown as f64 / (truth() - truth_before);
            assert!((0.98..1.02).contains(&ratio), "counted / true is {ratio}");
            // Freed by another thread, and so by way of another stripe.
            thread::spawn(move || {
                for (block, layout) in blocks {
                    // SAFETY: allocated above with this layout, freed once.
                    unsafe { CountingAllocator.dealloc(block as *mut u8, layout) };
                }
            })
            .join()
            .unwrap();
            let left = used_memory().saturating_sub(before);
            assert!(left < grown / 100, "{left} of {grown} bytes still counted");
        });
    }

    #[test]
    fn tuning_is_accepted_and_free_memory_goes_back() {
        in_child("tuning_is_accepted_and_free_memory_goes_back", &[], || {
            assert!(tune_allocator(2, 1 << 20, 512 << 20));
            let resident = resident_memory();
            let blocks: Vec<_> = (0..600).map(|_| vec![1u8; 100_000]).collect();
            assert!(resident_memory() > resident + 50_000_000);
            drop(blocks);
            assert!(resident_memory() > resident + 50_000_000);
            assert!(trim());
            assert!(resident_memory() < resident + 10_000_000);
        });
    }

    #[test]
    fn stop_signals_reach_the_waiting_thread_and_others_nobody() {
        let name = "stop_signals_reach_the_waiting_thread_and_others_nobody";
        in_child(name, &[], || {
            let threads = fs::read_dir("/proc/self/task").unwrap().count();
            assert_eq!(threads, 1, "a thread with open signals would take them");
            install_signals().unwrap();
            for signal in [SIGHUP, SIGPIPE] {
                assert_eq!(raise(signal), 0);
            }
            let (sender, signals) = std::sync::mpsc::channel();
            thread::spawn(move || while sender.send(wait_for_signal()).is_ok() {});
            let pid = process::id() as c_int;
            for (number, signal) in [
                (SIGTERM, Signal::Terminate),
                (SIGTERM, Signal::Terminate),
                (SIGINT, Signal::Interrupt),
            ] {
                assert_eq!(kill(pid, number), 0);
                assert_eq!(signals.recv(), Ok(signal));
            }
        });
    }

    #[test]
    fn the_mark_is_reached_before_the_limit() {
        in_child("the_mark_is_reached_before_the_limit", &[], || {
            assert!(!at_memory_mark() && !passed_memory_mark());
            let limit = used_memory() + (4 << 20);
            assert!(mark_memory(Some(limit)) < limit);
            assert!(!at_memory_mark());
            let mut held = Vec::new();
            while !at_memory_mark() {
                held.push(vec![0u8; 1000]);
            }
            assert!(used_memory() <= limit && passed_memory_mark());
            // It is on, a little at a time, up to the limit itself.
            while used_memory() < limit - (1 << 20) {
                mark_memory(Some(limit));
                assert!(!at_memory_mark());
                held.push(vec![0u8; 10_000]);
            }
            // Where there is no room, everybody has to look each time.
            assert!(mark_memory(Some(used_memory())) > 0);
            assert!(at_memory_mark() && !passed_memory_mark());
            mark_memory(None);
            held.push(vec![0u8; 100_000_000]);
            assert!(!at_memory_mark());
        });
    }

    #[test]
    fn nonblocking_calls_never_wait() {
        let (client, server) = pair();
        let mut buf = [0; 16];
        let error = recv_nonblocking(&server, &mut buf).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(!wait_readable(&server, 0).unwrap());
        assert!(!wait_readable(&server, 5).unwrap());

        let slices = [IoSlice::new(b"PI"), IoSlice::new(b""), IoSlice::new(b"NG")];
        assert_eq!(sendv_nonblocking(&client, &slices).unwrap(), 4);
        assert!(wait_readable(&server, -1).unwrap());
        assert_eq!(pending_input(&server).unwrap(), 4);
        assert_eq!(recv_nonblocking(&server, &mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"PING");
        assert_eq!(pending_input(&server).unwrap(), 0);

        let block = [7; 1 << 16];
        let mut sent = 0;
        let error = loop {
            match send_nonblocking(&client, &block) {
                Ok(bytes) => sent += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(!wait_writable(&client, 0).unwrap());
        assert!(send_queue(&client).unwrap() > 0);
        let mut server = server;
        io::copy(
            &mut Read::by_ref(&mut server).take(sent as u64),
            &mut io::sink(),
        )
        .unwrap();
        assert!(wait_writable(&client, -1).unwrap());
    }

    #[test]
    fn more_slices_than_the_system_takes_are_sent_in_part() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let slices = vec![IoSlice::new(b"x"); IOV_MAX + 10];
        assert_eq!(sendv_nonblocking(&server, &slices).unwrap(), IOV_MAX);
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), IOV_MAX);
    }

    #[test]
    fn blocking_calls_wait_and_report_the_end() {
        let (client, server) = pair();
        let reader = thread::spawn(move || {
            let mut buf = [0; 8];
            let first = recv_blocking(&server, &mut buf).unwrap();
            (first, recv_blocking(&server, &mut buf[first..]).unwrap())
        });
        assert_eq!(send_blocking(&client, b"hello").unwrap(), 5);
        drop(client);
        assert_eq!(reader.join().unwrap(), (5, 0));
    }

    #[test]
    fn a_lost_peer_is_seen_behind_unread_input() {
        let (client, server) = UnixStream::pair().unwrap();
        assert!(!peer_gone(&server));
        (&client).write_all(b"PING").unwrap();
        assert!(!peer_gone(&server));
        drop(client);
        assert!(peer_gone(&server));
        assert_eq!(recv_nonblocking(&server, &mut [0; 8]).unwrap(), 4);
        // The peer is gone, and SIGPIPE must not be what says so.
        let error = send_blocking(&server, b"+PONG").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_reset_is_seen_and_left_for_the_next_read() {
        let (client, server) = pair();
        send_blocking(&server, b"unread").unwrap();
        assert!(wait_readable(&client, -1).unwrap());
        // Closing with input unread makes TCP send a reset.
        drop(client);
        assert!(wait_readable(&server, -1).unwrap());
        assert!(peer_gone(&server));
        let error = recv_nonblocking(&server, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn keepalive_is_derived_from_the_interval() {
        let (client, _server) = pair();
        let options = || {
            [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT]
                .map(|name| option(&client, IPPROTO_TCP, name))
        };
        set_keepalive(&client, 300).unwrap();
        assert_eq!(option(&client, SOL_SOCKET, SO_KEEPALIVE), 1);
        assert_eq!(options(), [300, 100, 3]);
        set_keepalive(&client, 1).unwrap();
        assert_eq!(options(), [1, 1, 3]);
        set_keepalive(&client, u32::MAX).unwrap();
        assert_eq!(options(), [32767, 10922, 3]);
        set_keepalive(&client, 0).unwrap();
        assert_eq!(option(&client, SOL_SOCKET, SO_KEEPALIVE), 0);
    }

    #[test]
    fn bound_addresses_are_taken_once_and_by_family() {
        let any4 = bind_tcp((Ipv4Addr::UNSPECIFIED, 0).into(), 511).unwrap();
        let addr = any4.local_addr().unwrap();
        assert_eq!(addr.ip(), Ipv4Addr::UNSPECIFIED);
        assert_eq!(option(&any4, SOL_SOCKET, SO_REUSEADDR), 1);
        listen(&any4, 16).unwrap();
        let error = bind_tcp(addr, 511).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        // A machine may have no IPv6 at all.
        if let Ok(any6) = bind_tcp((Ipv6Addr::UNSPECIFIED, addr.port()).into(), 511) {
            assert_eq!(any6.local_addr().unwrap().port(), addr.port());
            assert_eq!(option(&any6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
        }
        let (client, server) = pair();
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    }

    #[test]
    fn the_descriptor_limit_only_grows() {
        in_child("the_descriptor_limit_only_grows", &[], || {
            let hard = limits().unwrap().hard;
            assert!(set_limits(64, hard));
            assert_eq!(raise_nofile_limit(100), 100);
            assert_eq!(raise_nofile_limit(10), 100);
            assert_eq!(nofile_limit(), 100);
            // Beyond what any kernel grants: as much as there is to have.
            assert_eq!(raise_nofile_limit(u64::MAX - 1), hard);
        });
    }

    #[test]
    fn cpu_times_grow_with_work() {
        in_child("cpu_times_grow_with_work", &[], || {
            let start = thread_cpu_times();
            while main_thread_cpu_times().0 < 30_000 {
                std::hint::black_box((0..100_000u64).fold(0, |a, b| a ^ b));
            }
            let (user, system, children, _) = cpu_times();
            assert!(user >= 10_000 && user + system < 60_000_000);
            assert!(thread_cpu_times() > start);
            assert_eq!(children, 0);
        });
    }

    #[test]
    fn the_machine_is_described() {
        let machine = uname();
        assert_eq!(machine.sysname, "Linux");
        assert_eq!(machine.machine, std::env::consts::ARCH);
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(machine.release, release.trim_end());
        assert!(total_system_memory() > resident_memory());
        assert!(resident_memory() > 100_000);
        assert!(!is_tty(File::open("/dev/null").unwrap()));
    }

    #[test]
    fn names_are_cut_to_what_linux_keeps() {
        let test = thread::spawn(|| {
            set_name("stdis *:6379 and more");
            let id = thread_id();
            fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap()
        });
        assert_eq!(test.join().unwrap(), "stdis *:6379 an\n");
    }

    #[test]
    fn a_connection_comes_from_where_it_is_bound() {
        let wait = Duration::from_secs(10);
        let listener = bind_tcp((Ipv4Addr::LOCALHOST, 0).into(), 8).unwrap();
        let target = listener.local_addr().unwrap();
        let source = Ipv4Addr::new(127, 0, 0, 2);
        let stream = connect(bound_socket((source, 0).into()).unwrap(), target, wait).unwrap();
        let (mut other, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), source);
        assert_eq!(peer, stream.local_addr().unwrap());
        // Reads wait, as with any other connection.
        other.write_all(b"x").unwrap();
        assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 1);
        drop(listener);
        let error = connect(bound_socket((source, 0).into()).unwrap(), target, wait).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        // An address for documents, which no machine has.
        assert!(bound_socket((Ipv4Addr::new(192, 0, 2, 1), 0).into()).is_err());
    }

    #[test]
    fn the_offset_follows_the_time_zone() {
        let summer_time = [("TZ", "AAA-5:30BBB-6:30,M3.5.0,M10.5.0")];
        in_child("the_offset_follows_the_time_zone", &summer_time, || {
            assert_eq!(local_time_offset(1_700_000_000), 19_800);
            assert_eq!(local_time_offset(1_720_000_000), 23_400);
        });
    }

    #[test]
    fn exit_now_leaves_at_once_with_its_code() {
        let output = in_child_with_output("exit_now_leaves_at_once_with_its_code", &[], || {
            exit_now(42)
        });
        assert_eq!(output.unwrap().status.code(), Some(42));
    }

    #[test]
    fn a_daemon_leaves_parent_session_and_output() {
        const REPORT: &str = "STDIS_TEST_DAEMON_REPORT";
        let name = "a_daemon_leaves_parent_session_and_output";
        // The daemon outlives the process that is waited for, so its word comes
        // over a socket, which ends with it.
        let listener = bind_tcp((Ipv4Addr::LOCALHOST, 0).into(), 1).unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let output = in_child_with_output(name, &[(REPORT, &addr)], || {
            let mut report = TcpStream::connect(std::env::var(REPORT).unwrap()).unwrap();
            let started = process::id();
            daemonize().unwrap();
            let stat = fs::read_to_string("/proc/self/stat").unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
            let leads = fields[4] == process::id().to_string();
            let null = [0, 1, 2].map(|fd| {
                let target = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
                target == std::path::Path::new("/dev/null")
            });
            write!(report, "{} {leads} {null:?}", process::id() != started).unwrap();
            exit_now(0);
        });
        let Some(output) = output else { return };
        assert_eq!(output.status.code(), Some(0));
        let (mut report, _) = listener.accept().unwrap();
        let mut text = String::new();
        report.read_to_string(&mut text).unwrap();
        assert_eq!(text, "true true [true, true, true]");
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let other = thread::spawn(move || stopped.recv());
        assert!(daemonize().is_err());
        drop(stop);
        assert!(other.join().unwrap().is_err());
    }
}
