"""A backend of matplotlib on which ``plt.show()`` draws every open figure, as a gallery does."""

from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg


class FigureManager(FigureManagerBase):
    @classmethod
    def pyplot_show(cls, *, block=None):
        managers = Gcf.get_all_fig_managers()
        for manager in managers:
            manager.canvas.draw()
        print(f"Drawn: {len(managers)}")


class FigureCanvas(FigureCanvasAgg):
    manager_class = FigureManager
