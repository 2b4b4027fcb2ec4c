//! A panic in any task of the daemon ends the daemon, and does not leave the rest going on without that task.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

/// Says that this process is the one that is to fail.
const CHILD: &str = "BALLAST_TEST_PANIC";

#[test]
fn a_task_that_panics_takes_the_daemon_with_it() {
    if std::env::var_os(CHILD).is_some() {
        ballast::cli::run::abort_on_panic();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let task = tokio::spawn(async { panic!("a task is lost") });
            // Nobody watches it in the daemon either: it would be an error here and nothing more.
            let _ = task.await;
        });
        std::process::exit(0);
    }
    let name = "a_task_that_panics_takes_the_daemon_with_it";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr).into_owned();
    assert_eq!(child.status.signal(), Some(6), "{said}");
    assert!(said.contains("a task is lost") && said.contains("part of the daemon has failed"), "{said}");
}
