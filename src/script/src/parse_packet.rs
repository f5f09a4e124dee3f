//! The part of the grammar behind `<` and `>`.

use crate::model::{Body, Ecn, Icmp, Ip, Options, Packet, Tcp, TcpOption};
use crate::parse::{Parser, Result};
use crate::token::Token;

/// The letters of control bits.
const FLAGS: [(char, u8); 8] = [
    ('F', 0x01),
    ('S', 0x02),
    ('R', 0x04),
    ('P', 0x08),
    ('.', 0x10),
    ('U', 0x20),
    ('E', 0x40),
    ('W', 0x80),
];

/// Control bits as letters.
pub fn flag_letters(flags: u8) -> String {
    let letters: String = FLAGS
        .iter()
        .filter(|(_, bit)| flags & bit != 0)
        .map(|(c, _)| *c)
        .collect();
    if letters.is_empty() {
        "-".to_owned()
    } else {
        letters
    }
}

impl Parser<'_> {
    /// What follows the direction.
    pub(crate) fn packet(&mut self, inbound: bool) -> Result<Packet> {
        let ip = self.ip_info()?;
        if self.eat_word("icmp") {
            return Ok(Packet {
                ip,
                body: Body::Icmp(self.icmp()?),
            });
        }
        if self.eat_word("udp") {
            let ports = self.ports()?;
            self.need('(')?;
            let len = self.int("a length")?;
            self.need(')')?;
            return Ok(Packet {
                ip,
                body: Body::Udp { ports, len },
            });
        }
        let tcp = self.tcp(inbound)?;
        Ok(Packet {
            ip,
            body: Body::Tcp(tcp),
        })
    }

    fn ip_info(&mut self) -> Result<Ip> {
        let mut ip = Ip::default();
        let close = match self.peek() {
            Some(Token::Sign('(')) => ')',
            Some(Token::Sign('[')) => ']',
            _ => return Ok(ip),
        };
        self.take();
        loop {
            let word = self.word("noecn, ect0, ect1, ect01, ce, tos, ttl, flowlabel or frag")?;
            match word.as_str() {
                "noecn" => ip.ecn = Some(Ecn::NotEct),
                "ect0" => ip.ecn = Some(Ecn::Ect0),
                "ect1" => ip.ecn = Some(Ecn::Ect1),
                "ect01" => ip.ecn = Some(Ecn::Ect01),
                "ce" => ip.ecn = Some(Ecn::Ce),
                "tos" => ip.tos = Some(self.int("a TOS")?),
                "ttl" => ip.ttl = Some(self.int("a TTL")?),
                "flowlabel" => ip.flow_label = Some(self.int("a flow label")?),
                "frag" => match self.int("the size of fragments")? {
                    n if n > 0 && n % 8 == 0 => ip.fragments = Some(n),
                    _ => return self.error("fragments have a multiple of eight bytes"),
                },
                other => return self.error(format!("`{other}` is no field of an IP header")),
            }
            if self.eat(close) {
                return Ok(ip);
            }
            self.need(',')?;
        }
    }

    /// `source > destination`.
    fn ports(&mut self) -> Result<Option<(u16, u16)>> {
        let told = matches!(self.peek(), Some(Token::Int(_)))
            && self.peek_after(1) == Some(&Token::Sign('>'));
        if !told {
            return Ok(None);
        }
        let from = self.int("a port")?;
        self.need('>')?;
        Ok(Some((from, self.int("a port")?)))
    }

    fn flags(&mut self) -> Result<u8> {
        if self.eat('-') {
            return Ok(0);
        }
        let mut flags = 0;
        let mut any = false;
        loop {
            match self.peek() {
                Some(Token::Sign('.')) => flags |= 0x10,
                Some(Token::Word(w)) => {
                    for c in w.chars() {
                        match FLAGS.iter().find(|(f, _)| *f == c) {
                            Some((_, bit)) => flags |= bit,
                            None => return self.error(format!("`{c}` is no flag of a segment")),
                        }
                    }
                }
                _ if any => return Ok(flags),
                _ => return self.expected("a segment's flags"),
            }
            any = true;
            self.take();
        }
    }

    fn tcp(&mut self, inbound: bool) -> Result<Tcp> {
        let ports = self.ports()?;
        let flags = self.flags()?;
        let mut tcp = Tcp {
            ports,
            flags,
            ..Tcp::default()
        };
        (tcp.seq, tcp.len) = self.range()?;
        if self.eat_word("ack") {
            tcp.ack = Some(self.int("an acknowledgment number")?);
        }
        if self.eat_word("win") {
            tcp.win = Some(self.int("a window")?);
        }
        if self.eat_word("urg") {
            tcp.urg = Some(self.int("an urgent pointer")?);
        }
        if self.eat('<') {
            tcp.options = self.options()?;
        }
        if inbound && tcp.options == Options::Any {
            return self.error("an inbound segment's options must be told");
        }
        Ok(tcp)
    }

    /// `from:to(len)`.
    fn range(&mut self) -> Result<(u32, u16)> {
        let from: u32 = self.int("a sequence number")?;
        self.need(':')?;
        let to: u32 = self.int("a sequence number")?;
        self.need('(')?;
        let len: u16 = self.int("a length")?;
        if from.wrapping_add(len.into()) != to {
            return self.error(format!("{from}:{to} are not {len} bytes"));
        }
        self.need(')')?;
        Ok((from, len))
    }

    fn options(&mut self) -> Result<Options> {
        if self.peek() == Some(&Token::Ellipsis) {
            self.take();
            self.need('>')?;
            return Ok(Options::Any);
        }
        let mut options = Vec::new();
        if self.eat('>') {
            return Ok(Options::These(options));
        }
        loop {
            options.push(self.option()?);
            if self.eat('>') {
                return Ok(Options::These(options));
            }
            self.need(',')?;
        }
    }

    fn option(&mut self) -> Result<TcpOption> {
        let at = self.word("an option")?;
        Ok(match at.as_str() {
            "nop" => TcpOption::Nop,
            "eol" => TcpOption::Eol,
            "mss" => TcpOption::Mss(self.int("an MSS")?),
            "wscale" => TcpOption::Wscale(self.int("a shift")?),
            "sackOK" => TcpOption::SackOk,
            "sack" => {
                let mut blocks = Vec::new();
                while matches!(self.peek(), Some(Token::Int(_))) {
                    let from = self.int("a sequence number")?;
                    self.need(':')?;
                    blocks.push((from, self.int("a sequence number")?));
                }
                TcpOption::Sack(blocks)
            }
            "TS" => {
                if !self.eat_word("val") {
                    return self.expected("`val`");
                }
                let val = self.int("a timestamp")?;
                if !self.eat_word("ecr") {
                    return self.expected("`ecr`");
                }
                let ecr = self.int("a timestamp")?;
                TcpOption::Timestamp { val, ecr }
            }
            "FO" => TcpOption::FastOpen(self.blob()?),
            "FOEXP" => TcpOption::FastOpenExperiment(self.blob()?),
            "kind" => {
                let kind = self.int("an option's kind")?;
                TcpOption::Other(kind, self.blob()?)
            }
            other => return self.error(format!("`{other}` is no option that is known")),
        })
    }

    /// Bytes in hexadecimal, perhaps none.
    fn blob(&mut self) -> Result<Vec<u8>> {
        let text = match self.peek() {
            Some(Token::Word(w)) => self.define(w).unwrap_or_else(|| w.clone()),
            Some(Token::Int(n)) if *n >= 0 => n.to_string(),
            _ => return Ok(Vec::new()),
        };
        if text.len() % 2 != 0 || !text.is_ascii() {
            return self.error("bytes take two hexadecimal digits each");
        }
        let bytes: Option<Vec<u8>> = (0..text.len() / 2)
            .map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
            .collect();
        let Some(bytes) = bytes else {
            return self.error("bytes take two hexadecimal digits each");
        };
        self.take();
        Ok(bytes)
    }

    fn icmp(&mut self) -> Result<Icmp> {
        let position = self.position();
        let kind = self.word("a type of ICMP message")?;
        let mut icmp = Icmp {
            kind,
            code: None,
            mtu: None,
            id: None,
            quoted: None,
            position,
        };
        if let Some(Token::Word(w)) = self.peek()
            && w != "mtu"
            && w != "id"
        {
            icmp.code = Some(w.clone());
            self.take();
        }
        if self.eat_word("mtu") {
            icmp.mtu = Some(self.int("an MTU")?);
        }
        if self.eat_word("id") {
            icmp.id = Some(self.int("an identifier")?);
        }
        if self.eat('[') {
            icmp.quoted = Some(self.range()?);
            self.need(']')?;
        }
        Ok(icmp)
    }
}
