//! What the log is told when a handler panics: where, in which command, of which client, and in
//! what state the server was.
//!
//! A panic ends one client's connection and not the server, so the report is written in the course
//! of that: the place and the stack by the hook, the command by [`run`], which the panic passes on
//! its way, and the client and the server once all locks have been let go. Panics in threads that
//! serve no client are for [`crate::server::threads`]. What a *signal* does to
//! the process is reported by [`sys::report_crashes`]. The lines that begin and end a report are
//! those that tools look for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Args, Ctx, Outcome, Row, client_list, info, secrets};
use crate::server::Server;
use crate::server::client::Client;
use crate::util::clock::now_ms;
use crate::util::quoting::repr;
use crate::{log_warning, sys};

/// How much of an argument is shown, and how many of them.
const SHOWN: usize = 128;
const MOST: usize = 64;

/// Whether there has been a report with all there is to tell; those behind it are shorter.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Calls the handler of a command. If that panics, the log is told the command, and the panic goes
/// on.
pub fn run(c: &mut Ctx<'_>, args: &mut Args<'_>, row: &'static Row) -> Outcome {
    sys::note_doing(c.session.client.id, &row.name);
    // What a panic leaves behind is looked after by those who catch it in the end.
    let done = catch_unwind(AssertUnwindSafe(|| (row.spec.handler)(c, args)));
    sys::note_done(&row.name);
    done.unwrap_or_else(|panic| pass_on(panic, row, args))
}

/// As [`run`], for a command of a transaction: what the thread is carrying out is the transaction.
pub fn run_part(c: &mut Ctx<'_>, args: &mut Args<'_>, row: &'static Row) -> Outcome {
    sys::note_part(Some(&row.name));
    let done = catch_unwind(AssertUnwindSafe(|| (row.spec.handler)(c, args)));
    sys::note_part(None);
    done.unwrap_or_else(|panic| pass_on(panic, row, args))
}

/// Tells the log the command in which a panic happened, and lets it go on.
#[cold]
#[inline(never)]
fn pass_on(panic: Box<dyn Any + Send>, row: &Row, args: &Args<'_>) -> ! {
    log_warning!("------ CURRENT COMMAND ------\n{}", describe(row, args));
    resume_unwind(panic)
}

/// The arguments, a line each, as far as they have not been used up.
fn describe(row: &Row, args: &Args<'_>) -> String {
    let secret = secrets::positions(row, args);
    let mut text = Vec::new();
    for (at, arg) in args.from(0).enumerate().take(MOST) {
        text.extend_from_slice(format!("argv[{at}]: ").as_bytes());
        if secret.contains(&at) {
            text.extend_from_slice(b"\"(redacted)\"");
        } else {
            repr(&mut text, &arg[..arg.len().min(SHOWN)]);
        }
        text.push(b'\n');
    }
    if args.len() > MOST {
        text.extend_from_slice(format!("... of {} in all\n", args.len()).as_bytes());
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The first part of a report: where the panic happened.
pub fn hook(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let trace = std::backtrace::Backtrace::force_capture();
    log_warning!(
        "\n\n=== REDIS BUG REPORT START: all of this, to the line that says END, belongs to it ===\n\
         Panic in thread {}: {panic}\n\n------ STACK TRACE ------\n{trace}",
        thread.name().unwrap_or("?")
    );
}

/// The last part, when a client's connection has been given up: who it was, and how the server is.
pub fn conclude(server: &Server, client: &Client) {
    let who = client_list::describe(client);
    let text = format!("------ CURRENT CLIENT INFO ------\n{who}\n");
    finish(server, text);
}

/// The last part, when a thread has been lost that serves no client; see [`crate::server::threads`].
pub fn conclude_thread(server: &Server, name: &str, over: bool) {
    let what = match over {
        true => "the server cannot do without it, and ends",
        false => "the server goes on without it",
    };
    finish(
        server,
        format!("------ LOST THREAD ------\n{name}: {what}\n"),
    );
}

/// Adds how the server is, and ends the report.
fn finish(server: &Server, mut text: String) {
    if !TOLD.swap(true, Ordering::Relaxed) {
        let mut clients = Vec::new();
        let now = now_ms();
        for other in server.clients.all() {
            client_list::line(&mut clients, &other, now, None);
        }
        text.push_str("\n------ INFO OUTPUT ------\n");
        text.push_str(&info::report(server).replace("\r\n", "\n"));
        text.push_str("\n------ CLIENT LIST OUTPUT ------\n");
        text.push_str(&String::from_utf8_lossy(&clients));
    }
    log_warning!("{text}\n=== REDIS BUG REPORT END ===");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;
    use crate::resp::OwnedArgs;

    #[test]
    fn secrets_and_long_arguments_are_not_shown() {
        let long = "x".repeat(SHOWN + 1);
        for (words, shown) in [
            (
                vec!["auth", "secret"],
                "argv[0]: \"auth\"\nargv[1]: \"(redacted)\"\n".to_owned(),
            ),
            (
                vec!["get", &long],
                format!("argv[0]: \"get\"\nargv[1]: \"{}\"\n", &long[1..]),
            ),
        ] {
            let mut owned = OwnedArgs::new(&words);
            let row = table().find(words[0].as_bytes()).expect("a command");
            assert_eq!(describe(row, &owned.args()), shown);
        }
        let many = ["mget"; MOST + 10];
        let mut owned = OwnedArgs::new(&many);
        let row = table().find(b"mget").expect("a command");
        let text = describe(row, &owned.args());
        assert_eq!(text.lines().count(), MOST + 1);
        assert!(text.ends_with("... of 74 in all\n"));
    }
}
