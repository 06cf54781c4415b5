"""Reports: verdicts as a table, JSON, figures and one self-contained HTML page."""

from flowkit.report.summary import Entry as Entry, Report as Report
