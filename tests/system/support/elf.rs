//! The smallest ELF files (elf(5)): programs that end with a status, without any library.

/// Where a program is in memory; an interpreter has a place of its own.
#[derive(Debug, Clone, Copy)]
pub enum At {
    Program = 0x40_0000,
    Interpreter = 0x80_0000,
}

/// A static program of x86_64 that ends with `status`; with an interpreter, which the kernel starts in
/// its place, by the path as it is written here.
pub fn ending(status: u8, at: At, interpreter: Option<&str>) -> Vec<u8> {
    // mov eax, 60 (exit); mov edi, status; syscall
    let code = [0xb8, 60, 0, 0, 0, 0xbf, status, 0, 0, 0, 0x0f, 0x05];
    made_of(&code, at, interpreter)
}

/// A static program of x86_64 that executes the one that its arguments name, and ends with the errno.
pub fn starting() -> Vec<u8> {
    let code = [
        // mov rax, [rsp] (how many arguments); lea rsi, [rsp + 16] (all but the first)
        &[0x48, 0x8b, 0x04, 0x24, 0x48, 0x8d, 0x74, 0x24, 0x10][..],
        // mov rdi, [rsi]; lea rdx, [rsi + rax * 8] (the environment)
        &[0x48, 0x8b, 0x3e, 0x48, 0x8d, 0x14, 0xc6],
        // mov eax, 59 (execve); syscall; mov edi, eax; neg edi
        &[0xb8, 59, 0, 0, 0, 0x0f, 0x05, 0x89, 0xc7, 0xf7, 0xdf],
        // mov eax, 60 (exit); syscall
        &[0xb8, 60, 0, 0, 0, 0x0f, 0x05],
    ];
    made_of(&code.concat(), At::Program, None)
}

fn made_of(code: &[u8], at: At, interpreter: Option<&str>) -> Vec<u8> {
    let mut path = interpreter.unwrap_or_default().as_bytes().to_vec();
    path.push(0);
    let segments: u64 = if interpreter.is_some() { 2 } else { 1 };
    let base = at as u64;
    let code_at = 64 + 56 * segments;
    let path_at = code_at + code.len() as u64;
    let length = path_at + path.len() as u64;
    let number = |value: u64, length: usize| value.to_le_bytes()[..length].to_vec();
    let mut file = [
        b"\x7fELF\x02\x01\x01".to_vec(),
        vec![0; 9],
        // ET_EXEC, EM_X86_64, version, entry, program headers, section headers.
        [number(2, 2), number(62, 2), number(1, 4)].concat(),
        [number(base + code_at, 8), number(64, 8), number(0, 8)].concat(),
        // Flags, sizes of headers, and how many there are.
        [
            number(0, 4),
            number(64, 2),
            number(56, 2),
            number(segments, 2),
            vec![0; 6],
        ]
        .concat(),
    ]
    .concat();
    let segment = |kind: u64, flags: u64, offset: u64, length: u64| {
        let places = [
            number(offset, 8),
            number(base + offset, 8),
            number(base + offset, 8),
        ];
        let sizes = [number(length, 8), number(length, 8), number(0x1000, 8)];
        [
            number(kind, 4),
            number(flags, 4),
            places.concat(),
            sizes.concat(),
        ]
        .concat()
    };
    if interpreter.is_some() {
        file.extend(segment(3, 4, path_at, path.len() as u64));
    }
    file.extend(segment(1, 5, 0, length));
    file.extend(code);
    file.extend(path);
    file
}
