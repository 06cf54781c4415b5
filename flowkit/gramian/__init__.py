"""Gram matrices tile by tile."""

from flowkit.gramian.engine import gram as gram
from flowkit.gramian.views import StoredGram as StoredGram, open_gram as open_gram
