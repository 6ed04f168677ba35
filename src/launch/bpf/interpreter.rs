//! For tests: what the kernel would answer, by the semantics of classic BPF.

/// What a program is given: `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub(in crate::launch) struct Call {
    pub(in crate::launch) number: u32,
    pub(in crate::launch) architecture: u32,
    pub(in crate::launch) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            _ => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    argument as u32
                } else {
                    (argument >> 32) as u32
                }
            }
        }
    }

    /// What the program answers.
    pub(in crate::launch) fn answered_by(&self, program: &[libc::sock_filter]) -> u32 {
        let (mut at, mut accumulator) = (0_usize, 0_u32);
        loop {
            let text = program[at];
            at += 1;
            match u32::from(text.code) {
                0x20 => accumulator = self.word(text.k),
                0x06 => return text.k,
                0x05 => at += text.k as usize,
                0x54 => accumulator &= text.k,
                code @ (0x15 | 0x25 | 0x35) => {
                    let taken = match code {
                        0x15 => accumulator == text.k,
                        0x25 => accumulator > text.k,
                        _ => accumulator >= text.k,
                    };
                    at += usize::from(if taken { text.jt } else { text.jf });
                }
                code => panic!("operation {code:#x} is not used"),
            }
        }
    }
}
