"""From raw input to a Document: the one place where ids are checked, text normalised and metadata typed."""

from __future__ import annotations

from collections.abc import Mapping

from kaizen.errors import BadDocument
from kaizen.ids import check_document_id
from kaizen.records import Document
from kaizen.text.metadata import typed_metadata
from kaizen.text.normalise import normalise, one_line


def make_document(
    *,
    tenant: str,
    id: str,
    title: str,
    text: str,
    metadata: Mapping[str, object],
    groups: tuple[str, ...] = (),
    source: str = "",
) -> Document:
    """Return the document, its text and title normalised; a blank text is replaced by the title.

    Args:
        groups: checked already (`metadata.access_groups`).

    Raises:
        InvalidInput: an id, or a metadata field, that cannot be used.
        BadDocument: there is neither text nor title.
    """
    title = one_line(title)
    text = normalise(text) or title
    if not text:
        raise BadDocument("It has no text.", advice="Send some in `text`, `content` or `body`.")
    return Document(
        tenant=tenant,
        id=check_document_id(id),
        title=title,
        text=text,
        metadata=typed_metadata(metadata),
        groups=groups,
        source=source,
    )
