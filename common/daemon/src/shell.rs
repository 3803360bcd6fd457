//! What shells and `man` are told of a program's commands: made from the same words as `--help`.

use crate::exit::{Exit, Fatal};
use clap::{Args, Command};
pub use clap_complete::Shell;
use clap_mangen::Man;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// `completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell that reads it
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints what the shell is to read.
    ///
    /// # Errors
    /// Those of stdout.
    pub fn run(&self, root: Command) -> anyhow::Result<()> {
        io::stdout().write_all(&completions(root, self.shell))?;
        Ok(())
    }
}

/// `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Directory for the pages, one for each command; it is made where it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl ManArgs {
    /// Writes the pages and says how many.
    ///
    /// # Errors
    /// [`Exit::Usage`]: they cannot be written there.
    pub fn run(&self, root: Command) -> anyhow::Result<()> {
        let dir = self.dir.display();
        let written = man(root, &self.dir).map_err(|error| {
            Fatal::new(Exit::Usage, format!("{dir} takes no manual pages: {error}"))
                .hint("give a directory that may be written to, such as /usr/local/share/man/man1")
        })?;
        println!("{} manual pages are in {dir}", written.len());
        Ok(())
    }
}

/// What a shell reads to complete the program's command line.
pub fn completions(mut root: Command, shell: Shell) -> Vec<u8> {
    let name = root.get_name().to_owned();
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut root, name, &mut out);
    out
}

/// Writes the manual page of every command that is not hidden; the files.
///
/// # Errors
/// Those of the directory.
pub fn man(mut root: Command, dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    root = root.disable_help_subcommand(true);
    root.build();
    let mut written = Vec::new();
    pages(&root, dir, &mut written)?;
    Ok(written)
}

fn pages(command: &Command, dir: &Path, written: &mut Vec<PathBuf>) -> io::Result<()> {
    // clap gives a command below another one the name `prog-outer-inner`
    let name = command.get_display_name().unwrap_or(command.get_name());
    let file = dir.join(format!("{name}.1"));
    fs::write(&file, page(command)?)?;
    written.push(file);
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        pages(sub, dir, written)?;
    }
    Ok(())
}

/// One page. What stands behind the options (examples, the table of exit codes) keeps its lines.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(&mut out)?;
    }
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut out)?;
    }
    let behind = command.get_after_long_help().or(command.get_after_help());
    if let Some(text) = behind {
        write!(out, "{}", verbatim(&text.to_string()))?;
    }
    Ok(out)
}

/// A section of lines that are not filled. A line that ends with a colon and has nothing before it
/// is the heading of what follows.
fn verbatim(text: &str) -> String {
    let mut out = String::from(".SH EXTRA\n.nf\n");
    for line in text.lines() {
        let heading = line
            .strip_suffix(':')
            .filter(|words| !words.starts_with(' ') && words.split(' ').count() <= 2);
        match heading {
            Some(words) => {
                out.push_str(&format!(
                    ".fi\n.SH {}\n.nf\n",
                    escaped(&words.to_uppercase())
                ));
            }
            None => {
                out.push_str(&escaped(line));
                out.push('\n');
            }
        }
    }
    out.push_str(".fi\n");
    // a text that begins with a heading
    out.replace(".SH EXTRA\n.nf\n.fi\n", "")
}

/// As roff reads it: no line of ours is a request, no character an escape.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ValueEnum};

    fn program() -> Command {
        let named = |name: &'static str| <clap::Command>::new(name);
        let inner = named("inner")
            .about("Does it")
            .arg(Arg::new("fast").long("fast").help("Sooner"))
            .after_help("Examples:\n  prog outer inner --fast   now\n.so /etc/passwd\n'q \\n");
        named("prog")
            .after_help(format!("Examples:\n  prog outer\n\n{}", Exit::table()))
            .subcommand(named("outer").about("Around").subcommand(inner))
            .subcommand(named("secret").hide(true))
    }

    #[test]
    fn every_shell_is_told_of_the_commands() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8(completions(program(), *shell)).unwrap();
            assert!(text.contains("inner") && text.contains("fast"), "{shell}");
        }
    }

    #[test]
    fn every_command_that_is_not_hidden_has_its_page() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("man1");
        let written = man(program(), &into).unwrap();
        let names: Vec<_> = written
            .iter()
            .map(|file| file.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["prog.1", "prog-outer.1", "prog-outer-inner.1"]);
        let read = |name: &str| fs::read_to_string(into.join(name)).unwrap();
        let root = read("prog.1");
        assert!(
            root.contains(".SH EXIT CODES\n.nf\n   0  success\n"),
            "{root}"
        );
        for exit in Exit::ALL {
            let line = format!("{:2}  {}", exit.code(), escaped(exit.meaning()));
            assert!(root.contains(&line), "{line}");
        }
        assert!(
            !root.contains("secret") && !root.contains(".SH EXTRA"),
            "{root}"
        );
        let inner = read("prog-outer-inner.1");
        for line in [
            ".SH EXAMPLES",
            "  prog outer inner \\-\\-fast   now",
            "\\&.so /etc/passwd",
            "\\&'q \\en",
        ] {
            assert!(inner.lines().any(|l| l == line), "{line}: {inner}");
        }
    }

    #[test]
    fn a_place_that_is_no_directory_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = ManArgs { dir: file }.run(program()).unwrap_err();
        let fatal = error.downcast_ref::<Fatal>().unwrap();
        assert!(fatal.message.contains("takes no manual pages"), "{error}");
    }
}
