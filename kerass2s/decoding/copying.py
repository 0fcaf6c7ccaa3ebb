"""Unknown words: what the model could not say becomes the source token that its attention pointed to.

Luong et al. 2015, "Addressing the rare word problem in neural machine translation" (arXiv:1410.8206), and Jean et al.
2015 (arXiv:1412.2007) replace an unknown target word after the search: they copy the source word it is aligned to, or
look that word up in a dictionary. Here it is copied. A name or a number comes through that no vocabulary has.
"""

from __future__ import annotations

import tensorflow as tf

from kerass2s.decoding.search import SearchResult
from kerass2s.errors import ConfigError
from kerass2s.text import UNKNOWN_ID


def copied(found: SearchResult, tokens: tf.Tensor, vocabulary_size: int) -> SearchResult:
    """Returns what was found with V + s in the place of each unknown id, s the source position most attended to.

    It is graph code, so an export's `target_ids` hold the pointer, and who has the source can spell it. Of equals the
    first position is taken. An id stays unknown where no attention lies on a token: an empty source has none. Scores
    stay those of the unknown token.

    With V = 9, the ids `[5, 1]` and the attention `[[.8, .1, .1], [.2, .3, .5]]` on the words "see Ann" and their END
    become `[5, 10]`: END is no word, and of the two "Ann" has more.

    Args:
        found: what a search found.
        tokens: bool [B, S], which source positions have a token; PAD and END are none.
        vocabulary_size: V of the target.

    Raises:
        ConfigError: the model has no attention.
    """
    if found.alignments is None:
        raise ConfigError("copy_unknown needs a model with attention. Received: no alignment")
    weights = tf.where(tokens[:, None, None, :], found.alignments, 0.0)
    points = (found.ids == UNKNOWN_ID) & (tf.reduce_max(weights, axis=3) > 0)
    places = tf.argmax(weights, axis=3, output_type=tf.int32)
    return found._replace(ids=tf.where(points, vocabulary_size + places, found.ids))
