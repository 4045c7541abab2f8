//! A thousand hooks leave nothing behind.

mod support;

use std::fs;
use std::future::pending;

use podhook_hooks::handler::{Outcome, exec};
use support::{Config, children, eventually, strings};

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn child_processes() -> String {
    let mut all = String::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        all += &fs::read_to_string(task.path().join("children")).unwrap_or_default();
    }
    all
}

#[tokio::test]
async fn a_thousand_hooks_leave_no_process_file_or_cgroup() {
    let container = Config::default().start();
    let children = children();
    let run = async |script: &str| {
        let command = strings(&["/bin/sh", "-c", script]);
        exec::run(&container.container, &command, &children, pending(), None).await
    };
    // The first one opens what stays open.
    run("true").await;
    let files = open_files();
    let processes = child_processes();
    for number in 0..900 {
        let result = run(&format!("exit {}", number % 7)).await;
        assert_eq!(result.exit_code, Some(number % 7));
    }
    // Some at once.
    let (many, counts) = (0..100, tokio::sync::Mutex::new(Vec::new()));
    let all: Vec<_> = many
        .map(|number| {
            let (container, children) = (container.container.clone(), children.clone());
            tokio::spawn(async move {
                let command = strings(&[
                    "/bin/sh",
                    "-c",
                    &format!("echo {number}; exit {}", number % 5),
                ]);
                let result = exec::run(&container, &command, &children, pending(), None).await;
                (number, result)
            })
        })
        .collect();
    for task in all {
        let (number, result) = task.await.unwrap();
        assert_eq!(result.exit_code, Some(number % 5), "{result:?}");
        assert_eq!(result.output, format!("{number}\n").as_bytes());
        counts
            .lock()
            .await
            .push(result.outcome == Outcome::Succeeded);
    }
    assert_eq!(counts.lock().await.iter().filter(|ok| **ok).count(), 20);
    eventually("the leaves are gone", || container.leaves().is_empty()).await;
    eventually("no file is left open", || open_files() <= files).await;
    assert_eq!(child_processes(), processes);
}
