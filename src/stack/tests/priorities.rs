//! SO_PRIORITY, and what IP_TOS does to it.

use super::*;
use crate::stack::Opt;

#[test]
fn a_type_of_service_has_its_priority() {
    TestHost::new(1).with(|h| {
        let s = create(h);
        for (tos, option, priority) in [
            (0, 0, 5),
            (3, 0, 5),
            (4, 4, 0),
            (8, 8, 2),
            (16, 16, 6),
            (24, 24, 4),
            (255, 252, 4),
            (-1, 252, 4),
        ] {
            h.set_option(s, Opt::Priority, 5).unwrap();
            h.set_option(s, Opt::Tos, tos).unwrap();
            assert_eq!(h.get_option(s, Opt::Tos), Ok(option));
            assert_eq!(h.get_option(s, Opt::Priority), Ok(priority), "{tos}");
        }
        // What is there already changes nothing.
        h.set_option(s, Opt::Priority, 5).unwrap();
        h.set_option(s, Opt::Tos, 252).unwrap();
        assert_eq!(h.get_option(s, Opt::Priority), Ok(5));
    });
}

#[test]
fn accepted_sockets_have_none() {
    TestHost::new(1).with(|h| {
        let l = create(h);
        h.set_option(l, Opt::Tos, 16).unwrap();
        let at = Endpoint::new(v4([127, 0, 0, 1]), 80);
        h.bind(l, at, true).unwrap();
        h.listen(l, 1).unwrap();
        let c = create(h);
        let _ = h.connect(c, at);
        let (s, _) = h.accept(l, Owner::default()).unwrap();
        assert_eq!(h.get_option(l, Opt::Priority), Ok(6));
        assert_eq!(h.get_option(s, Opt::Tos), Ok(16));
        assert_eq!(h.get_option(s, Opt::Priority), Ok(0));
    });
}
