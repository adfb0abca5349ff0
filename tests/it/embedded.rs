//! The embedded server, as root and as an ordinary account, alone and in company.
