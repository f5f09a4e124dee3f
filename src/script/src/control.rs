//! Whether the control messages that recvmsg gave are those of the script.

use crate::calls::{field, int};
use crate::model::{Expr, ExprKind};
use crate::request::Reply;

type Result<T> = core::result::Result<T, String>;

/// A control message: level, type, data.
type Message<'a> = (i32, i32, &'a [u8]);

fn word(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..at + 4)?;
    Some(i32::from_ne_bytes(four.try_into().ok()?))
}

fn split(mut bytes: &[u8]) -> Vec<Message<'_>> {
    let mut all = Vec::new();
    while let (Some(len), Some(level), Some(kind)) =
        (word(bytes, 0), word(bytes, 8), word(bytes, 12))
    {
        let len = len as usize;
        let Some(data) = bytes.get(16..len) else {
            break;
        };
        all.push((level, kind, data));
        bytes = bytes.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    all
}

/// Compare what came with a msghdr of the script: `msg_flags` and `msg_control`.
pub fn check(want: &Expr, reply: &Reply) -> Result<()> {
    if let Some(flags) = field(want, "msg_flags")
        && int(flags)? != i64::from(reply.flags)
    {
        return Err(format!("its msg_flags are {:#x}", reply.flags));
    }
    let Some(ExprKind::Array(items)) = field(want, "msg_control").map(|e| &e.kind) else {
        return Err("an array of control messages is expected".to_owned());
    };
    let came = split(&reply.control);
    if came.len() != items.len() {
        return Err(format!("{} control messages came", came.len()));
    }
    for (item, message) in items.iter().zip(came) {
        check_one(item, message)?;
    }
    Ok(())
}

fn check_one(want: &Expr, (level, kind, data): Message<'_>) -> Result<()> {
    let number = |name: &str| match field(want, name) {
        Some(e) => int(e),
        None => Err(format!("a control message has a {name}")),
    };
    if number("cmsg_level")? != level.into() || number("cmsg_type")? != kind.into() {
        return Err(format!("a control message {level}, {kind} came"));
    }
    let Some(value) = field(want, "cmsg_data") else {
        return Ok(());
    };
    if !matches!(value.kind, ExprKind::Struct(_)) {
        let got = word(data, 0).unwrap_or(-1);
        return match int(value)? == got.into() {
            true => Ok(()),
            false => Err(format!("the control message is {got}")),
        };
    }
    // struct sock_extended_err. (Of a timestamp the time itself is not compared.)
    let byte = |at: usize| data.get(at).map(|b| i64::from(*b));
    let four = |at: usize| word(data, at).map(|n| i64::from(n as u32));
    let fields = [
        ("ee_errno", four(0)),
        ("ee_origin", byte(4)),
        ("ee_type", byte(5)),
        ("ee_code", byte(6)),
        ("ee_info", four(8)),
        ("ee_data", four(12)),
    ];
    for (name, got) in fields {
        if let Some(e) = field(value, name)
            && Some(int(e)?) != got
        {
            return Err(format!("its {name} is {}", got.unwrap_or(-1)));
        }
    }
    Ok(())
}
