//! Several kernels, several machines at once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Result;

use super::{KERNEL, Options, Prepared, Run, kernel, prepare, run_prepared};

/// All kernels, with options that are the same for each: everything on one of them, a choice of scenarios on the
/// others unless everything is wanted there too. The longest first.
pub fn all(options: &Options) -> Vec<(&'static str, Options)> {
    let mut machines: Vec<_> = kernel::names()
        .map(|kernel| {
            let options = Options {
                each_kernel: kernel != KERNEL && !options.everything,
                ..options.clone()
            };
            (kernel, options)
        })
        .collect();
    machines.sort_by_key(|(kernel, _)| *kernel != KERNEL);
    machines
}

/// Runs machines, each a kernel with options of its own, at most `jobs` at the same time; what came of them, the
/// oldest kernel first. A kernel that cannot be had is an error like any other.
pub fn run<'a>(machines: &'a [(&'a str, Options)], jobs: usize) -> Vec<(&'a str, Result<Run>)> {
    let mut done = Vec::new();
    let mut waiting: VecDeque<(&str, &Options, Prepared)> = VecDeque::new();
    // One after the other: what several machines need is downloaded and built once.
    for (kernel, options) in machines {
        match prepare(kernel, options) {
            Ok(prepared) => waiting.push_back((kernel, options, prepared)),
            Err(error) => done.push((*kernel, Err(error))),
        }
    }
    let waiting = Mutex::new(waiting);
    let ran = Mutex::new(done);
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = lock(&waiting).pop_front();
                    let Some((kernel, options, prepared)) = next else {
                        break;
                    };
                    let outcome = run_prepared(&prepared, options);
                    lock(&ran).push((kernel, outcome));
                }
            });
        }
    });
    let mut done = ran.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(name, _)| kernel::names().position(|known| known == *name));
    done
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
