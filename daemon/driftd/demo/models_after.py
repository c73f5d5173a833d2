"""The demo's models as they are when its story goes on: a small task tracker that has grown."""

from __future__ import annotations

from datetime import date  # noqa: TC003  # SQLAlchemy reads the annotations while it maps the class

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of all tables."""


class Project(Base):
    """What tasks belong to."""

    __tablename__ = "project"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)


class Task(Base):
    """Something to do."""

    __tablename__ = "task"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'doing', 'done')", name="task_state"),
        Index("task_by_state", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(20))
    assignee: Mapped[str | None] = mapped_column(String(80))
    legacy_code: Mapped[str | None] = mapped_column(String(10))
    priority: Mapped[int] = mapped_column(server_default="3")
    due_on: Mapped[date | None] = mapped_column()


class Comment(Base):
    """What was said about a task."""

    __tablename__ = "comment"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    body: Mapped[str] = mapped_column(Text)
