//! A PostgreSQL of the tests' own, in a directory of its own, where it is installed. It is
//! started, stopped, killed and spoken to; who is tried on it is the tests' business.

mod wire;

pub use wire::Wire;

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

/// A running server. It ends with the process that started it, however that ends.
#[derive(Debug)]
pub struct Server {
    bin: PathBuf,
    dir: PathBuf,
    /// Whom it runs as; it does not run as root.
    user: Option<(u32, u32)>,
    /// Waits for the end of its input, which is ours, and stops the server.
    _watch: Child,
}

/// The one that all tests share, each with a schema of its own.
pub fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    // what it keeps in memory only survives what these tests do to it
    SHARED.get_or_init(|| Server::start("-F")).as_ref()
}

fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let bin = entry.path().join("bin");
            let version = entry.file_name().to_str()?.parse().ok()?;
            bin.join("initdb").is_file().then_some((version, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

/// Somebody who is not root: PostgreSQL refuses to run as root.
fn somebody() -> Option<(u32, u32)> {
    let me = fs::metadata("/proc/self")
        .ok()
        .map(|m| std::os::unix::fs::MetadataExt::uid(&m));
    if me != Some(0) {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let found = ["postgres:", "nobody:"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.starts_with(name))?;
        let mut ids = line.split(':').skip(2).map(str::parse);
        Some((ids.next()?.ok()?, ids.next()?.ok()?))
    });
    Some(found.unwrap_or((65534, 65534)))
}

impl Server {
    /// Starts one with these options. None, said aloud: there is none to start.
    pub fn start(options: &str) -> Option<Self> {
        let Some(bin) = programs() else {
            let words =
                "SKIPPED on PostgreSQL: it is not installed (Debian: apt-get install postgresql)\n";
            std::io::stderr().write_all(words.as_bytes()).unwrap();
            return None;
        };
        let dir = tempfile::Builder::new()
            .prefix("kv-pg")
            .tempdir()
            .unwrap()
            .keep();
        let user = somebody();
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        let run = Run { bin: &bin, user };
        let data = dir.join("data");
        let made = run
            .program("initdb")
            .args([
                "--username=damocles",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .output()
            .unwrap();
        said(&made, "initdb");
        let settings = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\n",
            damocles_test_ports::port(),
            dir.display()
        );
        let file = data.join("postgresql.conf");
        let conf = fs::read_to_string(&file).unwrap();
        fs::write(file, conf + &settings).unwrap();
        // it outlives a test that is killed, so it is not left to us to stop it
        #[expect(clippy::disallowed_methods, reason = "it watches over the server")]
        let mut command = Command::new("sh");
        run.as_user(&mut command);
        let watch = command
            .args(["-c", r#"cat >/dev/null; "$0/pg_ctl" -D "$1/data" -m immediate stop >/dev/null 2>&1; rm -rf "$1""#])
            .args([&bin, &dir])
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self {
            bin,
            dir,
            user,
            _watch: watch,
        };
        server.up(options);
        Some(server)
    }

    fn run(&self) -> Run<'_> {
        Run {
            bin: &self.bin,
            user: self.user,
        }
    }

    /// Starts the server, and returns when it answers.
    pub fn up(&self, options: &str) {
        let mut last = None;
        // processes of one that was killed may not all be gone yet
        for _ in 0..100 {
            let started = self
                .run()
                .program("pg_ctl")
                .args(["-w", "-t", "60", "-o", options, "-l"])
                .arg(self.dir.join("log"))
                .arg("-D")
                .arg(self.dir.join("data"))
                .arg("start")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            if started.success() {
                return;
            }
            last = fs::read_to_string(self.dir.join("log")).ok();
            thread::sleep(Duration::from_millis(100));
        }
        panic!("PostgreSQL does not start: {last:?}");
    }

    /// As a power cut does it to its processes.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test kills what it has started"
    )]
    pub fn kill(&self) {
        let data = self.dir.join("data");
        let file = fs::read_to_string(data.join("postmaster.pid")).unwrap();
        let first = file.lines().next().unwrap();
        let mut all = vec![first.to_owned()];
        all.extend(children(first));
        // the first one first, or it would see the others die, and clean up after them
        for process in &all {
            let _ = Command::new("kill").args(["-9", process]).status();
        }
        while !all.iter().all(|process| is_dead(process)) {
            thread::sleep(Duration::from_millis(10));
        }
        // whoever has inherited the first one may take its time to bury it, and as long as it has
        // a number the server believes these files, and does not start
        let socket = format!(".s.PGSQL.{}.lock", self.port());
        for lock in [data.join("postmaster.pid"), self.dir.join(socket)] {
            let _ = fs::remove_file(lock);
        }
    }

    /// Says something to the server as its operator, and returns what it answers.
    pub fn psql(&self, words: &str) -> String {
        let done = self
            .run()
            .program("psql")
            .args(["-U", "damocles", "-d", "postgres", "-q", "-p"])
            .arg(self.port().to_string())
            .arg("-h")
            .arg(&self.dir)
            .args(["-c", words])
            .output()
            .unwrap();
        said(&done, "psql");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Lets in by TCP only who says this password.
    pub fn ask_for(&self, password: &str) {
        self.psql(&format!("ALTER USER damocles PASSWORD '{password}'"));
        let file = self.dir.join("data/pg_hba.conf");
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(file, rules).unwrap();
        self.psql("SELECT pg_reload_conf()");
    }

    /// Starts it anew, encrypted by a certificate for 127.0.0.1. Returns the certificate of who
    /// signed that. None, said aloud: there is no program that makes certificates.
    pub fn encrypt(&self) -> Option<PathBuf> {
        let steps = r#"
            key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            openssl req -x509 $key -keyout ca.key -out ca.pem -days 2 -subj "/CN=an authority"
            openssl req $key -keyout server.key -out server.csr -subj "/CN=a server"
            echo "subjectAltName=IP:127.0.0.1" >names
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt
            chmod 600 server.key
        "#;
        #[expect(
            clippy::disallowed_methods,
            reason = "certificates are made by openssl"
        )]
        let mut command = Command::new("sh");
        self.run().as_user(&mut command);
        let made = command
            .args(["-ec", steps])
            .current_dir(&self.dir)
            .output()
            .unwrap();
        if !made.status.success() {
            let words = "SKIPPED with TLS: openssl does not make certificates here\n";
            std::io::stderr().write_all(words.as_bytes()).unwrap();
            return None;
        }
        let file = |name| self.dir.join(name).display().to_string();
        self.kill();
        self.up(&format!(
            "-F -c ssl=on -c ssl_cert_file={} -c ssl_key_file={}",
            file("server.crt"),
            file("server.key")
        ));
        Some(self.dir.join("ca.pem"))
    }

    pub fn port(&self) -> u16 {
        let conf = fs::read_to_string(self.dir.join("data/postgresql.conf")).unwrap();
        let port = conf.lines().rev().find_map(|l| l.strip_prefix("port = "));
        port.unwrap().parse().unwrap()
    }

    /// How it is reached by TCP over that port of this host, be it its own or a [`Wire`]'s.
    pub fn dsn_over(&self, port: u16) -> String {
        format!("host=127.0.0.1 port={port} user=damocles dbname=postgres")
    }

    /// How it is reached, by the socket in its directory.
    pub fn dsn(&self) -> String {
        format!(
            "host={} port={} user=damocles dbname=postgres",
            self.dir.display(),
            self.port()
        )
    }
}

struct Run<'a> {
    bin: &'a Path,
    user: Option<(u32, u32)>,
}

impl Run<'_> {
    #[expect(clippy::disallowed_methods, reason = "the server is a process")]
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        self.as_user(&mut command);
        command.current_dir("/").env("LC_ALL", "C");
        command
    }

    fn as_user(&self, command: &mut Command) {
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
    }
}

fn said(output: &Output, who: &str) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{who}: {words}");
}

/// State and parent of a process, as `/proc` has them; None: there is no such process.
fn about(process: &str) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // after the name, which may hold anything
    let mut words = stat.rsplit(')').next()?.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// Whether it does nothing any more, buried or not.
fn is_dead(process: &str) -> bool {
    about(process).is_none_or(|(state, _)| ["Z", "X"].contains(&state.as_str()))
}

/// The processes that this one has started.
fn children(parent: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let of_parent = |process: &String| about(process).is_some_and(|(_, of)| of == parent);
    all.filter_map(|entry| entry.file_name().into_string().ok())
        .filter(of_parent)
        .collect()
}
