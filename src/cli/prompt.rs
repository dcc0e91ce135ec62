//! Questions to the person at the terminal. Where there is no terminal, nothing is asked: the caller says which flags
//! answer instead.

use std::io::{self, BufRead, BufReader, IsTerminal as _};

use super::failure::{Exit, Failure};
use super::output::Output;

/// Wrong answers before we give up.
const ATTEMPTS_MAX: u32 = 3;
/// Greatest length of an answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024;

/// Where answers come from.
pub(super) struct Prompt {
    input: Option<Box<dyn BufRead + Send>>,
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt").field("can_ask", &self.can_ask()).finish()
    }
}

impl Prompt {
    /// The terminal. `stdin_taken`: standard input is the body of a request, so the terminal itself is opened.
    pub(super) fn of_process(stdin_taken: bool) -> Self {
        if !io::stderr().is_terminal() {
            return Self { input: None };
        }
        if !stdin_taken && io::stdin().is_terminal() {
            return Self::from_reader(BufReader::new(io::stdin()));
        }
        let terminal = std::fs::File::open(if cfg!(windows) { "CONIN$" } else { "/dev/tty" });
        Self { input: terminal.ok().map(|file| Box::new(BufReader::new(file)) as Box<dyn BufRead + Send>) }
    }

    pub(super) fn from_reader(reader: impl BufRead + Send + 'static) -> Self {
        Self { input: Some(Box::new(reader)) }
    }

    /// Nobody is there.
    #[cfg(test)]
    pub(super) const fn nobody() -> Self {
        Self { input: None }
    }

    pub(super) const fn can_ask(&self) -> bool {
        self.input.is_some()
    }

    /// One of `choices`, by its number; its index.
    ///
    /// # Errors
    /// When nobody answers, or not with a number of the list.
    pub(super) async fn choose(
        &mut self,
        out: &mut Output,
        question: &str,
        choices: &[String],
    ) -> Result<usize, Failure> {
        out.choice(question);
        for (i, choice) in choices.iter().enumerate() {
            out.choice(&format!("  {}) {choice}", i + 1));
        }
        for _ in 0..ATTEMPTS_MAX {
            out.ask(&format!("Number [1-{}]:", choices.len()));
            let number: usize = self.answer().await?.parse().unwrap_or(0);
            if (1..=choices.len()).contains(&number) {
                return Ok(number - 1);
            }
        }
        Err(Failure::new(
            Exit::Usage,
            "no number of the list was chosen",
            "run the command again, or name the choice with its flag",
        ))
    }

    /// A value that `parse` accepts.
    ///
    /// # Errors
    /// When nobody answers, or nothing usable.
    pub(super) async fn value<T>(
        &mut self,
        out: &mut Output,
        question: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            out.ask(question);
            match parse(&self.answer().await?) {
                Ok(value) => return Ok(value),
                Err(why) => out.choice(&why),
            }
        }
        Err(Failure::new(
            Exit::Usage,
            "no usable answer was given",
            "run the command again, or give the value with its flag",
        ))
    }

    /// True only for `y` or `yes`.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) async fn confirm(&mut self, out: &mut Output, question: &str) -> Result<bool, Failure> {
        out.ask(&format!("{question} [y/N]:"));
        Ok(matches!(self.answer().await?.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// One line, read aside so that Ctrl-C is noticed meanwhile.
    async fn answer(&mut self) -> Result<String, Failure> {
        let ended = || {
            Failure::new(Exit::Usage, "the answer did not come", "answer the question, or use the flags that answer it")
        };
        let mut input = self.input.take().ok_or_else(ended)?;
        let (input, line) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let read = io::Read::take(&mut input, ANSWER_BYTES_MAX).read_line(&mut line);
            (input, read.ok().filter(|bytes| *bytes > 0).map(|_| line))
        })
        .await
        .map_err(|_| ended())?;
        self.input = Some(input);
        line.map(|line| line.trim().to_owned()).ok_or_else(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::Format;
    use super::super::output::capture;
    use super::*;

    /// A prompt that reads what was written into a pipe.
    fn piped(answers: &str) -> Prompt {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, answers.as_bytes()).unwrap();
        Prompt::from_reader(BufReader::new(reader))
    }

    #[tokio::test]
    async fn a_numbered_list_over_a_pipe() {
        let (mut out, data, talk) = capture::output(Format::Table);
        let mut prompt = piped("7\n2\n");
        let choices = ["a".to_owned(), "b".to_owned()];
        assert_eq!(prompt.choose(&mut out, "Why?", &choices).await.unwrap(), 1);
        assert_eq!(talk.text(), "Why?\n  1) a\n  2) b\nNumber [1-2]: Number [1-2]: ");
        assert_eq!(data.text(), "", "questions are talk");
    }

    #[tokio::test]
    async fn only_yes_is_yes() {
        let (mut out, _, _) = capture::output(Format::Table);
        let mut prompt = piped("y\nYES\n\nno\nsure\n");
        for expected in [true, true, false, false, false] {
            assert_eq!(prompt.confirm(&mut out, "Send?").await.unwrap(), expected);
        }
        assert_eq!(prompt.confirm(&mut out, "Send?").await.unwrap_err().exit, Exit::Usage, "the pipe has ended");
    }

    #[tokio::test]
    async fn wrong_answers_end() {
        let (mut out, _, _) = capture::output(Format::Table);
        let mut prompt = piped("0\nx\n3\n1\n");
        let failure = prompt.choose(&mut out, "Why?", &["a".to_owned()]).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }
}
