//! One test per claim of the documents: the claim's probe prints the same on the kernel and
//! under `libutcp.so`. What each claim says stands at the top of its probe in `c-tests/`.

mod harness;

use harness::{Scenario, Step};

/// A test that runs one probe on one host, without arguments unless given.
macro_rules! alone {
    ($($(#[$meta:meta])* $name:ident $(, $args:literal)?;)*) => {$(
        #[test]
        $(#[$meta])*
        fn $name() {
            let step = Step::c(stringify!($name));
            $(let step = step.args($args);)?
            harness::check(stringify!($name), &Scenario::alone([step]));
        }
    )*};
}

alone! {
    claim01; claim02; claim03; claim04; claim05; claim06; claim07; claim08; claim09; claim10;
    claim11; claim12; claim13; claim14; claim15; claim17; claim18; claim19; claim20; claim21;
    claim22; claim23; claim24; claim25; claim26; claim27; claim29; claim30; claim31; claim32;
    claim33; claim34; claim35; claim36; claim37;
}

#[test]
fn claim16() {
    harness::check("claim16", &Scenario::alone([Step::c("claim16")]));
}

#[test]
fn claim28() {
    let scenario = Scenario::alone([Step::c("claim28")]).no_gateway();
    harness::check("claim28", &scenario);
}

/// TIME_WAIT to its end, 60 s. Its name makes it the first to start.
#[test]
fn all_of_time_wait_claim35() {
    let scenario = Scenario::alone([Step::c("claim35").args("long")]);
    harness::check("all_of_time_wait_claim35", &scenario.limit(110));
}

#[test]
fn claim38() {
    harness::check(
        "claim38",
        &Scenario::alone([Step::c("claim38")]).on_the_kernel(),
    );
}

#[test]
fn claim39() {
    harness::check(
        "claim39",
        &Scenario::alone([Step::c("claim39")]).on_the_kernel(),
    );
}

#[test]
fn claim40() {
    harness::check(
        "claim40",
        &Scenario::alone([Step::c("claim40")]).on_the_kernel(),
    );
}

/// The segments of claims on one host's loopback.
mod segments {
    use super::harness::{self, Scenario, Step};

    fn compared(test: &str, probe: &'static str, args: &str) {
        let mut step = Step::c(probe);
        if !args.is_empty() {
            step = step.args(args);
        }
        let scenario = Scenario::alone([step]).segments();
        harness::check(&format!("segments::{test}"), &scenario);
    }

    #[test]
    fn claim10() {
        compared("claim10", "claim10", "");
    }
    #[test]
    fn claim11() {
        compared("claim11", "claim11", "lives");
    }
    #[test]
    fn claim30_late() {
        compared("claim30_late", "claim30", "late");
    }
    #[test]
    fn claim30_quick() {
        compared("claim30_quick", "claim30", "quick");
    }
    #[test]
    fn claim30_both() {
        compared("claim30_both", "claim30", "both");
    }
    #[test]
    fn claim30_data() {
        compared("claim30_data", "claim30", "data");
    }
    #[test]
    fn claim30_rst() {
        compared("claim30_rst", "claim30", "rst");
    }
}
