//! `utcp up` and `utcp down`: a TUN device for a user without privileges.

use crate::cli;
use crate::trouble::{Result, Trouble};
use std::ffi::CString;
use std::process::ExitCode;
use utcp_stack::link::config::{self, QUEUE_LEN, Setup, utcp_number};
use utcp_stack::link::{Tun, TunError};

/// Make it.
pub fn up(args: &cli::Up) -> Result<ExitCode> {
    let (uid, user) = match &args.user {
        Some(name) => user_id(name)?,
        None => caller(),
    };
    let settings = crate::stacks::config(None)?;
    let tun = Tun::create(args.device.as_deref().unwrap_or("utcp%d"), true)
        .map_err(|e| refused("cannot make a device", &e, "up"))?;
    let name = tun
        .name()
        .map_err(|e| refused("the new device", &e, "up"))?;
    let number = utcp_number(&name).and_then(|n| u16::try_from(n).ok());
    let addresses = settings.addresses(number.unwrap_or(0));
    let setup = Setup {
        ipv4: Some((addresses.gateway, addresses.addr.prefix)),
        ipv6: addresses.v6.map(|(net, gateway)| (gateway, net.prefix)),
        mtu: settings.mtu(),
        queue_len: QUEUE_LEN,
    };
    let done = tun
        .set_owner(uid)
        .and_then(|()| match config::configure(&name, &setup) {
            Err(e @ TunError::Ipv6Off(_)) => {
                anstream::eprintln!("utcp: {e}");
                Ok(())
            }
            other => other,
        });
    if let Err(e) = done {
        let _ = tun.set_persist(false);
        return Err(refused(&format!("cannot set {name} up"), &e, "up"));
    }
    anstream::println!(
        "{name} is there for {user}: the kernel is {}, the stack will be {}",
        addresses.gateway,
        addresses.addr.addr
    );
    if let Some((net, gateway)) = addresses.v6 {
        anstream::println!("and {gateway}, {}", net.addr);
    }
    if uid != 0 && !node_is_open() {
        anstream::println!(
            "but {user} may not open /dev/net/tun: `sudo chmod 0666 /dev/net/tun` allows it"
        );
    }
    anstream::println!("use it:    UTCP_TUN={name} utcp run PROGRAM");
    anstream::println!("remove it: sudo utcp down {name}");
    Ok(ExitCode::SUCCESS)
}

/// Remove it.
pub fn down(args: &cli::Down) -> Result<ExitCode> {
    let name = &args.device;
    let what = format!("cannot remove {name}");
    let device = config::describe(name).map_err(|e| refused(&what, &e, "down"))?;
    if !device.tun {
        let why = "it is no TUN device, so utcp did not make it";
        return Err(Trouble::new(what, why).mend("`ip tuntap` lists those there are"));
    }
    if device.attached {
        let why = "a stack is using it";
        return Err(
            Trouble::new(what, why).mend("end its programs first; `utcp ss -ap` lists them")
        );
    }
    config::delete(name).map_err(|e| refused(&what, &e, "down"))?;
    anstream::println!("{name} is gone");
    Ok(ExitCode::SUCCESS)
}

fn refused(what: &str, e: &TunError, command: &str) -> Trouble {
    match e {
        // Their own advice is `utcp up`.
        TunError::NoCapability
        | TunError::NodePermission
        | TunError::ConfigPermission(_)
        | TunError::NotOwner(_) => Trouble::new(what, "that needs CAP_NET_ADMIN")
            .mend(format!("`sudo utcp {command}` has it")),
        TunError::NoSuchDevice(_) => Trouble::new(what, "there is no such device here")
            .mend("`ip tuntap` lists those there are"),
        // It says what, why and what to do by itself.
        e => Trouble::relayed(e.to_string()),
    }
}

/// Who asked for the device, through sudo or not.
fn caller() -> (u32, String) {
    let sudo = std::env::var("SUDO_UID")
        .ok()
        .and_then(|id| id.parse().ok());
    // SAFETY: no arguments.
    let uid = sudo.unwrap_or_else(|| unsafe { libc::getuid() });
    let name = std::env::var("SUDO_USER").unwrap_or_else(|_| format!("user {uid}"));
    (uid, name)
}

/// Whether everybody may open /dev/net/tun (a group's members may, too, where it has one).
fn node_is_open() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/dev/net/tun").is_ok_and(|m| m.mode() & 0o006 == 0o006 || m.gid() != 0)
}

fn user_id(name: &str) -> Result<(u32, String)> {
    if let Ok(uid) = name.parse() {
        return Ok((uid, format!("user {uid}")));
    }
    let none = || {
        Trouble::new("--user", format!("there is no user {name:?}"))
            .mend("`getent passwd` lists them")
    };
    let c_name = CString::new(name).map_err(|_| none())?;
    // SAFETY: the name ends with a zero byte; nobody else in this process, which has one
    // thread, uses the static answer.
    let entry = unsafe { libc::getpwnam(c_name.as_ptr()).as_ref() };
    entry.map(|e| (e.pw_uid, name.to_owned())).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;
    use utcp_stack::config::Config;

    #[test]
    fn users_by_name_and_number() {
        assert_eq!(user_id("root").unwrap().0, 0);
        assert_eq!(user_id("1234").unwrap().0, 1234);
        assert!(user_id("no such user").is_err());
    }

    #[test]
    fn addresses_follow_the_number() {
        let n = utcp_number("utcp3").unwrap() as u16;
        assert_eq!(
            Config::default().addresses(n).gateway.to_string(),
            "198.18.3.1"
        );
    }
}
