//! What the arguments of a process give away: on most systems everyone can read them.

/// Flags whose values others can read in the list of processes, a sentence each.
pub fn secrets_in_arguments(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), arguments.peek().cloned()),
        };
        // A URL without a password is no secret.
        let password = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.contains("password=")
                || rest.split_once('@').is_some_and(|(user, _)| user.contains(':'))
        };
        let (shown, better) = match flag {
            "--jwt-secret" => (true, "FLASHDEAL_JWT_SECRET_FILE"),
            "--database-url" => (value.as_deref().is_some_and(password), "DATABASE_URL"),
            _ => (false, ""),
        };
        if shown {
            found.push(format!(
                "{flag} holds a secret, and everyone on this machine can read the arguments of a \
                 process: use {better} instead"
            ));
        }
    }
    found
}
