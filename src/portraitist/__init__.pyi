from portraitist.app.avatar import Avatar as Avatar
from portraitist.app.avatar import Portraitist as Portraitist

__version__: str
