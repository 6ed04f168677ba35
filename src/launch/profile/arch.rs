//! The architectures that system calls come in by.

use oci_spec::runtime::Arch;

/// A machine that runs containers: the architecture of its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // One of them is another machine; the tests compile for both.
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

/// One numbering of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Abi {
    X86_64,
    /// Comes in as x86_64, with numbers of its own.
    X32,
    X86,
    Aarch64,
    Arm,
}

/// How much of an argument there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Width {
    /// All 64 bits.
    Whole,
    /// The low 32 bits, which is what a 32-bit program passes. The rest is not looked at.
    Low,
}

/// The calls that reach the filter with one architecture in `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entrance {
    /// The architecture there (`linux/audit.h`).
    pub(super) audit: u32,
    /// Its numbering.
    pub(super) abi: Abi,
    /// What numbers with bit 30 mean, on x86_64.
    pub(super) x32: Option<X32>,
}

/// Whether the profile lists x32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum X32 {
    /// Its calls are held to the profile too.
    Listed,
    /// It is an architecture that is not listed.
    Unlisted,
}

/// The bit that x32 sets in every number (`asm/unistd.h`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Machine {
    #[cfg(target_arch = "x86_64")]
    pub(super) const HERE: Machine = Machine::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub(super) const HERE: Machine = Machine::Aarch64;

    /// The entrances that a profile with these architectures opens: the machine's own always,
    /// others where they are listed and its kernel has them.
    pub(super) fn entrances(self, listed: &[Arch]) -> Vec<Entrance> {
        let is_listed = |arch| listed.contains(&arch);
        let plain = |audit, abi| Entrance {
            audit,
            abi,
            x32: None,
        };
        match self {
            Machine::X86_64 => {
                let x32 = match is_listed(Arch::ScmpArchX32) {
                    true => X32::Listed,
                    false => X32::Unlisted,
                };
                let native = Entrance {
                    audit: Arch::ScmpArchX86_64 as u32,
                    abi: Abi::X86_64,
                    x32: Some(x32),
                };
                let i386 = plain(Arch::ScmpArchX86 as u32, Abi::X86);
                let i386 = is_listed(Arch::ScmpArchX86).then_some(i386);
                std::iter::once(native).chain(i386).collect()
            }
            Machine::Aarch64 => {
                let native = plain(Arch::ScmpArchAarch64 as u32, Abi::Aarch64);
                let arm = plain(Arch::ScmpArchArm as u32, Abi::Arm);
                let arm = is_listed(Arch::ScmpArchArm).then_some(arm);
                std::iter::once(native).chain(arm).collect()
            }
        }
    }
}

impl Abi {
    pub(super) const ALL: [Abi; 5] = [Abi::X86_64, Abi::X32, Abi::X86, Abi::Aarch64, Abi::Arm];

    pub(super) fn width(self) -> Width {
        match self {
            Abi::X86_64 | Abi::Aarch64 => Width::Whole,
            Abi::X32 | Abi::X86 | Abi::Arm => Width::Low,
        }
    }
}
