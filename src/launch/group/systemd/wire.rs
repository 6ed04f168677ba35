//! The form of D-Bus messages, as far as a conversation with systemd needs it (D-Bus specification,
//! "Marshaling" and "Message Format").

/// Writes values behind each other, each at its alignment.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        let length = self.bytes.len().next_multiple_of(to);
        self.bytes.resize(length, 0);
    }

    fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_ne_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// A string or the path of an object.
    pub(super) fn string(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    fn signature(&mut self, text: &str) {
        // Ours are constants of a few letters.
        self.byte(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    /// An array whose elements are aligned as `element` says, and written by `fill`.
    pub(super) fn array(&mut self, element: usize, fill: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let at = self.bytes.len() - 4;
        self.align(element);
        let start = self.bytes.len();
        fill(self);
        let count = length(self.bytes.len() - start);
        self.bytes[at..at + 4].copy_from_slice(&count.to_ne_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        value.write(self);
    }

    /// An array of names with values.
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |writer| {
            for property in properties {
                writer.align(8);
                writer.string(&property.name);
                writer.variant(&property.value);
            }
        });
    }
}

/// Longer ones do not pass [`call`].
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A value whose type goes with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Double(_) => "d",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Pairs(_) => "a(ss)",
        }
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Value::Bool(value) => to.bool(*value),
            Value::I32(value) => to.u32(value.cast_unsigned()),
            Value::U32(value) => to.u32(*value),
            Value::I64(value) => to.u64(value.cast_unsigned()),
            Value::U64(value) => to.u64(*value),
            Value::Double(value) => to.u64(value.to_bits()),
            Value::Text(text) => to.string(text),
            Value::Texts(texts) => to.array(4, |to| texts.iter().for_each(|text| to.string(text))),
            Value::Numbers(list) => to.array(4, |to| list.iter().for_each(|one| to.u32(*one))),
            Value::Bytes(bytes) => to.array(1, |to| to.bytes.extend(bytes)),
            Value::Pairs(pairs) => to.array(8, |to| {
                for (first, second) in pairs {
                    to.align(8);
                    to.string(first);
                    to.string(second);
                }
            }),
        }
    }
}

/// A property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) value: Value,
}

impl Property {
    pub(super) fn new(name: &str, value: Value) -> Property {
        Property {
            name: name.to_owned(),
            value,
        }
    }
}

/// What a call is for.
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// Of the arguments.
    pub(super) signature: &'a str,
}

/// The largest message that is sent or taken, in bytes.
pub(super) const LARGEST: usize = 1 << 20;

/// The length of the beginning, which has the lengths of the rest.
pub(super) const BEGINNING: usize = 16;

const ENDIAN: u8 = if cfg!(target_endian = "little") {
    b'l'
} else {
    b'B'
};
const VERSION: u8 = 1;
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

// Fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The message that calls `method`; `None` when it would be too large.
pub(super) fn call(serial: u32, method: &Method<'_>, arguments: &[u8]) -> Option<Vec<u8>> {
    let mut message = Writer::default();
    for byte in [ENDIAN, CALL, 0, VERSION] {
        message.byte(byte);
    }
    message.u32(length(arguments.len()));
    message.u32(serial);
    let fields = [
        (PATH, "o", method.path),
        (DESTINATION, "s", method.destination),
        (INTERFACE, "s", method.interface),
        (MEMBER, "s", method.member),
    ];
    message.array(8, |message| {
        for (code, kind, text) in fields {
            message.align(8);
            message.byte(code);
            message.signature(kind);
            message.string(text);
        }
        if !method.signature.is_empty() {
            message.align(8);
            message.byte(SIGNATURE);
            message.signature("g");
            message.signature(method.signature);
        }
    });
    message.align(8);
    message.bytes.extend(arguments);
    (message.bytes.len() <= LARGEST).then_some(message.bytes)
}

/// Reads values behind each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A string or the path of an object.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let count = self.u32()?;
        self.text(count as usize)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let count = self.byte()?;
        self.text(count.into())
    }

    fn text(&mut self, count: usize) -> Option<&'a str> {
        let text = self.take(count)?;
        (self.byte()? == 0).then_some(std::str::from_utf8(text).ok()?)
    }

    /// A variant that holds a string.
    pub(super) fn variant_string(&mut self) -> Option<&'a str> {
        match self.signature()? {
            "s" | "o" => self.string(),
            _ => None,
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// The answer to the call of this serial number.
    Return { to: u32, body: Vec<u8> },
    /// A failure of it: the error's name, and a text.
    Error { to: u32, name: String, text: String },
    /// Something that happened.
    Signal { member: String, body: Vec<u8> },
    /// Something that is not of interest.
    Other,
}

/// How many bytes follow the `beginning`. `None` when it is not one.
pub(super) fn rest(beginning: &[u8; BEGINNING]) -> Option<usize> {
    if beginning[0] != ENDIAN || beginning[3] != VERSION {
        return None;
    }
    let number = |at: usize| {
        let bytes = beginning[at..at + 4].try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(bytes)).ok()
    };
    let (body, fields): (usize, usize) = (number(4)?, number(12)?);
    let rest = fields.checked_next_multiple_of(8)?.checked_add(body)?;
    (rest <= LARGEST).then_some(rest)
}

/// Reads a whole message. `None` when it is none.
pub(super) fn parse(message: &[u8]) -> Option<Message> {
    let beginning: &[u8; BEGINNING] = message.get(..BEGINNING)?.try_into().ok()?;
    if message.len() != BEGINNING + rest(beginning)? {
        return None;
    }
    let mut reader = Reader::new(message);
    reader.at = 12;
    let end = BEGINNING + reader.u32()? as usize;
    let (mut to, mut member, mut name) = (0, String::new(), String::new());
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        let mut text = String::new();
        let mut number = 0;
        match kind {
            "s" | "o" => text = reader.string()?.to_owned(),
            "g" => text = reader.signature()?.to_owned(),
            "u" => number = reader.u32()?,
            _ => return None,
        }
        match code {
            MEMBER => member = text,
            ERROR_NAME => name = text,
            REPLY_SERIAL => to = number,
            _ => {}
        }
    }
    reader.at = end;
    reader.align(8);
    let body = message.get(reader.at..)?.to_vec();
    Some(match message[1] {
        RETURN => Message::Return { to, body },
        ERROR => {
            let text = Reader::new(&body).string().unwrap_or_default().to_owned();
            Message::Error { to, name, text }
        }
        SIGNAL => Message::Signal { member, body },
        _ => Message::Other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written out from the specification by hand.
    #[cfg(target_endian = "little")]
    #[test]
    fn a_call_has_the_form_of_the_specification() {
        let method = Method {
            destination: "a.b",
            path: "/c",
            interface: "d.e",
            member: "F",
            signature: "sb",
        };
        let mut arguments = Writer::default();
        arguments.string("x");
        arguments.bool(true);
        let message = call(7, &method, &arguments.bytes).unwrap();
        let expected = [
            &b"l\x01\x00\x01\x0c\0\0\0\x07\0\0\0\x48\0\0\0"[..],
            b"\x01\x01o\0\x02\0\0\0/c\0\0\0\0\0\0",
            b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0",
            b"\x02\x01s\0\x03\0\0\0d.e\0\0\0\0\0",
            b"\x03\x01s\0\x01\0\0\0F\0\0\0\0\0\0\0",
            b"\x08\x01g\0\x02sb\0",
            b"\x01\0\0\0x\0\0\0\x01\0\0\0",
        ]
        .concat();
        assert_eq!(message, expected);
    }

    fn answer(kind: u8, fields: &[(u8, &str, u32)], body: &[u8]) -> Vec<u8> {
        let mut message = Writer::default();
        [ENDIAN, kind, 0, VERSION]
            .iter()
            .for_each(|byte| message.byte(*byte));
        message.u32(length(body.len()));
        message.u32(9);
        message.array(8, |message| {
            for (code, text, number) in fields {
                message.align(8);
                message.byte(*code);
                match text.is_empty() {
                    true => {
                        message.signature("u");
                        message.u32(*number);
                    }
                    false => {
                        message.signature("s");
                        message.string(text);
                    }
                }
            }
        });
        message.align(8);
        message.bytes.extend(body);
        message.bytes
    }

    #[test]
    fn answers_errors_and_signals_are_told_apart() {
        let mut body = Writer::default();
        body.string("it failed");
        let error = answer(
            ERROR,
            &[(REPLY_SERIAL, "", 3), (ERROR_NAME, "x.Y", 0)],
            &body.bytes,
        );
        assert_eq!(
            parse(&error).unwrap(),
            Message::Error {
                to: 3,
                name: "x.Y".to_owned(),
                text: "it failed".to_owned()
            }
        );
        let signal = answer(SIGNAL, &[(MEMBER, "JobRemoved", 0)], b"body");
        assert_eq!(
            parse(&signal).unwrap(),
            Message::Signal {
                member: "JobRemoved".to_owned(),
                body: b"body".to_vec()
            }
        );
        let back = answer(RETURN, &[(REPLY_SERIAL, "", 4)], b"");
        let expected = Message::Return {
            to: 4,
            body: Vec::new(),
        };
        assert_eq!(parse(&back).unwrap(), expected);
        for end in 0..signal.len() {
            assert_eq!(parse(&signal[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..96), at in 0_usize..96, byte: u8) {
            parse(&bytes);
            let mut near = answer(ERROR, &[(REPLY_SERIAL, "", 3), (ERROR_NAME, "x.Y", 0)], &bytes);
            if let Some(place) = near.get_mut(at) {
                *place = byte;
            }
            parse(&near);
        }
    }
}
