//! What workers ask for while they seal: numbers, tickets, seeds, reports.
