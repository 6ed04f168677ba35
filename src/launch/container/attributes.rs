//! How a process is scheduled: policy, input and output, processors.

use std::io;

use oci_spec::runtime::{
    IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler,
};

use super::ContainerError;
use crate::launch::Failure;
use crate::sys::scheduling::{self, Attributes as Scheduling};

/// See the module.
#[derive(Debug, Default)]
pub struct Attributes {
    scheduler: Option<Scheduling>,
    /// As ioprio_set(2) takes it.
    io_priority: Option<i32>,
    /// Processors for the time before the program runs; only for exec.
    initial_cpus: Option<Vec<usize>>,
    /// Processors for the program; only for exec.
    final_cpus: Option<Vec<usize>>,
}

impl Attributes {
    pub(super) fn of(process: &Process) -> Result<Attributes, ContainerError> {
        let affinity = process.exec_cpu_affinity().as_ref();
        let cpus = |field: &str, list: Option<&String>| {
            list.filter(|list| !list.is_empty())
                .map(|list| parse_cpus(list).ok_or_else(|| bad_cpus(field, list)))
                .transpose()
        };
        Ok(Attributes {
            scheduler: process.scheduler().as_ref().map(scheduling).transpose()?,
            io_priority: process
                .io_priority()
                .as_ref()
                .map(|asked| io_priority(asked.class(), asked.priority()))
                .transpose()?,
            initial_cpus: cpus("initial", affinity.and_then(|a| a.initial().as_ref()))?,
            final_cpus: cpus(
                "final",
                affinity.and_then(|a| a.cpu_affinity_final().as_ref()),
            )?,
        })
    }

    /// Takes the processors for the time of the start.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        set_cpus(self.initial_cpus.as_deref())
    }

    /// Takes everything that the program is to have.
    pub(super) fn apply(&self) -> Result<(), Failure> {
        set_cpus(self.final_cpus.as_deref())?;
        let failed =
            |object: &'static str| move |cause: io::Error| Failure::new("set", object, cause);
        if let Some(scheduler) = &self.scheduler {
            scheduling::set_attributes(scheduler).map_err(failed("process.scheduler"))?;
        }
        if let Some(priority) = self.io_priority {
            scheduling::set_io_priority(priority).map_err(failed("process.ioPriority"))?;
        }
        Ok(())
    }
}

fn set_cpus(cpus: Option<&[usize]>) -> Result<(), Failure> {
    let Some(cpus) = cpus else { return Ok(()) };
    let mut set = rustix::thread::CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|cause| Failure::new("set", "process.execCPUAffinity", cause))
}

fn bad_cpus(field: &str, list: &str) -> ContainerError {
    ContainerError::invalid(
        format!("process.execCPUAffinity.{field}"),
        format!("{list:?} is no list of processors such as \"0-2,5\" below 1024"),
    )
}

fn parse_cpus(list: &str) -> Option<Vec<usize>> {
    numbers(list, rustix::thread::CpuSet::MAX_CPU)
}

/// `0-2,5` as 0, 1, 2, 5, all of them below `limit`.
pub(super) fn numbers(list: &str, limit: usize) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if first > last || last >= limit {
            return None;
        }
        numbers.extend(first..=last);
    }
    (!numbers.is_empty()).then_some(numbers)
}

fn io_priority(class: IOPriorityClass, priority: i64) -> Result<i32, ContainerError> {
    // linux/ioprio.h: the class stands above 13 bits of priority.
    let class = match class {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(priority) {
        Ok(priority @ 0..=7) => Ok(class << 13 | priority),
        _ => Err(ContainerError::invalid(
            "process.ioPriority.priority",
            format!("{priority} is not from 0 to 7"),
        )),
    }
}

fn scheduling(asked: &Scheduler) -> Result<Scheduling, ContainerError> {
    let policy = match asked.policy() {
        LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
        LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
        LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
        LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
        LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
        LinuxSchedulerPolicy::SchedDeadline => libc::SCHED_DEADLINE,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(ContainerError::invalid(
                "process.scheduler.policy",
                "no kernel has SCHED_ISO; choose another",
            ));
        }
    };
    let flags = asked.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
    });
    let priority = asked.priority().unwrap_or_default();
    Ok(Scheduling {
        policy: policy as u32,
        flags,
        nice: asked.nice().unwrap_or_default(),
        priority: u32::try_from(priority).map_err(|_| {
            ContainerError::invalid("process.scheduler.priority", "it is below zero")
        })?,
        runtime: asked.runtime().unwrap_or_default(),
        deadline: asked.deadline().unwrap_or_default(),
        period: asked.period().unwrap_or_default(),
    })
}
