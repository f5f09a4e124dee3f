//! What a script says, before it is run.

/// Where something stands in the script's text, both counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl core::fmt::Display for Position {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Microseconds.
pub type Micros = i64;

/// A whole script.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// `--name=value` at its beginning.
    pub options: Vec<(String, Option<String>)>,
    /// What happens, in order; commands without a time happen at once.
    pub events: Vec<Event>,
}

impl Script {
    /// The event with which time begins: commands before everything else take none.
    pub fn begins(&self) -> usize {
        let command = |e: &&Event| matches!(e.action, Action::Command(_));
        self.events.iter().take_while(command).count()
    }
}

/// One line, mostly.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Where it stands.
    pub position: Position,
    /// When it is to happen.
    pub time: Time,
    /// What.
    pub action: Action,
}

/// The time before an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `0.1`: since the script's beginning.
    Absolute(Micros),
    /// `+0.1`: after the event before.
    Relative(Micros),
    /// `*`.
    Any,
    /// `0.1~0.2`.
    AbsoluteRange(Micros, Micros),
    /// `+0.1~+0.2`.
    RelativeRange(Micros, Micros),
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `<`: a packet comes to the host.
    Inbound(Packet),
    /// `>`: a packet leaves it.
    Outbound(Packet),
    /// The program calls.
    Call(Call),
    /// `` `...` ``.
    Command(String),
    /// `%{ ... }%`.
    Code(String, Position),
}

/// A packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// What its IP header says.
    pub ip: Ip,
    /// What it carries.
    pub body: Body,
}

/// IP header fields; `None`: whatever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ip {
    /// ECN bits.
    pub ecn: Option<Ecn>,
    /// The whole TOS or traffic class.
    pub tos: Option<u8>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// IPv6 flow label.
    pub flow_label: Option<u32>,
    /// It comes in fragments of so many bytes, the last one first.
    pub fragments: Option<u16>,
}

/// `[noecn]`, `[ect0]`, `[ect1]`, `[ect01]`, `[ce]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ecn {
    NotEct,
    Ect0,
    Ect1,
    Ect01,
    Ce,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram with that much payload.
    Udp {
        /// Source and destination, if told.
        ports: Option<(u16, u16)>,
        /// Payload bytes.
        len: u16,
    },
    /// An ICMP message.
    Icmp(Icmp),
}

/// A segment. Sequence numbers count from each side's initial one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tcp {
    /// Source and destination, if told.
    pub ports: Option<(u16, u16)>,
    /// The control bits, as in the header.
    pub flags: u8,
    /// First sequence number.
    pub seq: u32,
    /// Payload bytes.
    pub len: u16,
    /// Acknowledgment number.
    pub ack: Option<u32>,
    /// Window, as in the header.
    pub win: Option<u16>,
    /// Urgent pointer.
    pub urg: Option<u16>,
    /// Options.
    pub options: Options,
}

/// A segment's options.
#[derive(Clone, Debug, PartialEq)]
pub enum Options {
    /// `<...>`: whatever they are.
    Any,
    /// These, in this order.
    These(Vec<TcpOption>),
}

impl Default for Options {
    fn default() -> Options {
        Options::These(Vec::new())
    }
}

/// One option.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum TcpOption {
    Nop,
    Eol,
    Mss(u16),
    Wscale(u8),
    SackOk,
    Sack(Vec<(u32, u32)>),
    Timestamp {
        val: u32,
        ecr: u32,
    },
    /// `FO`: kind 34; a cookie or none.
    FastOpen(Vec<u8>),
    /// `FOEXP`: kind 254 with the experiment's number.
    FastOpenExperiment(Vec<u8>),
    /// Any other kind, with its value.
    Other(u8, Vec<u8>),
}

/// An ICMP message about a segment of the host's.
#[derive(Clone, Debug, PartialEq)]
pub struct Icmp {
    /// Its type by name.
    pub kind: String,
    /// Its code by name.
    pub code: Option<String>,
    /// The next hop's MTU.
    pub mtu: Option<u32>,
    /// Identifier of an echo.
    pub id: Option<u16>,
    /// The quoted segment: first sequence number and length.
    pub quoted: Option<(u32, u16)>,
    /// Position, for errors in the names.
    pub position: Position,
}

/// A call that the program makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// It blocks, until then (counted as the event's own time).
    pub until: Option<Micros>,
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// What it returns.
    pub result: Expr,
    /// The name of the errno, if it fails.
    pub errno: Option<String>,
}

/// An argument or result.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// Where it stands.
    pub position: Position,
    /// What it is.
    pub kind: ExprKind,
}

/// Kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `...`.
    Ellipsis,
    /// A number.
    Int(i64),
    /// A name.
    Word(String),
    /// `"text"`; followed by `...`: its beginning.
    Text(Vec<u8>, bool),
    /// `a | b`.
    Or(Vec<Expr>),
    /// `[a, b]`.
    Array(Vec<Expr>),
    /// `name(a, b)`.
    Of(String, Vec<Expr>),
    /// `{a=b, c=d}`; without names: `{a, b}`.
    Struct(Vec<(Option<String>, Expr)>),
}
